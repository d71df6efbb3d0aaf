# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "application"

Rails.application.initialize!
