# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "mkmf"

# The extension is an improvement: where it cannot be built, the gem installs without it.
def without_extension(reason)
  warn "tallyport: #{reason}; recording goes through ffi"
  File.write("Makefile", "all clean install:\n\t@:\n")
  exit
end

without_extension("TALLYPORT_EXTENSION=off") if ENV["TALLYPORT_EXTENSION"] == "off"
without_extension("no C compiler") unless find_executable(RbConfig::CONFIG["CC"].split.first)
without_extension("no headers of Ruby") unless have_header("ruby.h")

append_cflags(%w[-std=c99 -O2 -fvisibility=hidden -Wall -Wextra -Wno-unused-parameter])
create_makefile("tallyport/tallyport_ext")
