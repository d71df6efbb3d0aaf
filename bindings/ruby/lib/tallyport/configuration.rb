# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

module Tallyport
  # What {Tallyport.configure} sets. What is nil is as the configuration file says, or the default.
  class Configuration
    # What an engine is opened from; changing it needs another engine.
    OF_ENGINE = %i[config config_toml base_dir service_name share arena cells log_level max_series
                   max_series_per_family max_cell_bytes max_label_bytes series_idle_timeout
                   default_bounds label_cache].freeze

    # @return [String, nil] configuration file (`tallyport config schema` shows its keys)
    attr_accessor :config
    # @return [String, nil] configuration as text, instead of a file
    attr_accessor :config_toml
    # @return [String, nil] folder that relative paths of {#config_toml} start from
    attr_accessor :base_dir
    # @return [String, nil] what exporters call this process
    attr_accessor :service_name
    # @return [Symbol, nil] `:auto` (this process and its forks, the default), `:reset` (a fork starts
    #   at zero), `:file` (every process that opens {#arena})
    attr_accessor :share
    # @return [String, nil] the file of `share = :file`
    attr_accessor :arena
    # @return [Symbol, nil] `:percpu` or `:shared`
    attr_accessor :cells
    # @return [Symbol, nil] `:error`, `:warn`, `:info`, `:debug`, `:trace`, `:off`
    attr_accessor :log_level
    # @return [Integer, nil] series of the engine; more fold into overflow series
    attr_accessor :max_series
    # @return [Integer, nil] series of a family
    attr_accessor :max_series_per_family
    # @return [Integer, nil] bytes of values
    attr_accessor :max_cell_bytes
    # @return [Integer, nil] bytes of label values
    attr_accessor :max_label_bytes
    # @return [Integer, nil] seconds after which a series that nobody uses leaves the exports
    attr_accessor :series_idle_timeout
    # @return [Array<Numeric>, nil] bounds of histograms that have none of their own
    attr_accessor :default_bounds
    # @return [Integer] label sets of a family that are remembered (1000)
    attr_accessor :label_cache

    # Where messages of the library go, on the thread whose call made them or at a later call: anything
    # with `error`, `warn`, `info` and `debug`, as Logger.
    attr_accessor :logger

    def initialize
      @label_cache = 1000
    end

    # What the engine depends on, to be compared.
    # @api private
    def of_engine = OF_ENGINE.map { |name| public_send(name) }
  end
end
