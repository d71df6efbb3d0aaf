# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

# What loads the gem before Rails is there (a plugin of Puma's) takes `tallyport/base`; the application
# then gets the rest here.
require_relative "tallyport/base"
require_relative "tallyport/railtie" if defined?(Rails::Railtie)
