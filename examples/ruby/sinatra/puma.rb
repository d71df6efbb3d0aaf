# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

# puma -C puma.rb -b tcp://127.0.0.1:9292 config.ru
workers 2
threads 2, 4
# The application is loaded before the workers are forked, and with it the metrics: nothing else is
# needed for one total of all workers.
preload_app!
