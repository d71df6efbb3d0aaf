# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  # Version of the gem, which is that of the library that it carries.
  VERSION = "0.1.0"
end
