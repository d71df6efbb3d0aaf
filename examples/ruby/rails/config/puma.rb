# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

workers 2
threads 2, 4
preload_app!
