# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require_relative "call"
require_relative "label_cache"
require_relative "subscription"

module Tallyport
  # The bus of an engine: published, described, listened to.
  #
  #     Tallyport.events.publish("task.completed", task_id: 1, duration: 0.2)
  class Events
    # Names whose topics are remembered.
    NAMES = 1000

    # @api private
    def initialize(engine)
      @engine = engine
      @topics = LabelCache.new(NAMES)
      @subscriptions = []
    end

    # Publishes an event. When nobody listens to it, its payload is not even looked at.
    # @param name [String, Symbol] `namespace.event`
    # @param payload [Hash] braces may be left out; what JSON can say
    # @return [nil]
    # @raise [InvalidArgument] for a name or payload that cannot be
    def publish(name, payload = nil)
      topic = @topics[name] || topic(name)
      return if topic && !topic.heard?

      @subscriptions.each(&:revive)
      text = payload.nil? || payload.empty? ? "" : json(payload)
      Call.check do |error|
        Native.event_publish_json(@engine.handle, Call.str(name), Call.str(""), Call.str(text), error)
      end
    end

    # Publishes an event under a correlation id of the program's own.
    # @param correlation_id [String] 1 to 128 visible ASCII characters
    # @return [nil]
    def publish_as(correlation_id, name, payload = {})
      @subscriptions.each(&:revive)
      Call.check do |error|
        Native.event_publish_json(@engine.handle, Call.str(name), Call.str(correlation_id),
                                  Call.str(json(payload)), error)
      end
    end

    # Listens to events through a queue, which a Ruby thread empties: no native thread calls Ruby.
    #
    # With a block that thread is started here, and anew in a forked child; without one, call
    # {Subscription#next} or {Subscription#each} on a thread of your own.
    # @param names [Array<String>] names, prefixes (`task.*`) or `*`
    # @param queue [Integer] most events that wait; later ones are dropped and counted
    # @yieldparam event [Hash] `event`, `timestamp_ns`, `correlation_id`, `payload`
    # @return [Subscription]
    def subscribe(*names, name: nil, queue: 0, &block)
      subscription = Subscription.new(@engine, names.join(" "), name, queue, &block)
      @subscriptions += [subscription]
      subscription
    end

    # Puts an event of the program's own into the catalogue.
    # @param schema [Hash, nil] JSON Schema of its payload
    # @return [nil]
    # @raise [AlreadyExists] when the name is taken by another definition
    def define(name, description, schema: nil)
      schema = schema ? JSON.generate(schema) : ""
      Call.check do |error|
        Native.event_define(@engine.handle, Call.str(name), Call.str(description), Call.str(schema), error)
      end
    end

    # The catalogue: all events, those of a namespace, or those that have every word.
    # @return [Array<Hash>]
    def list(namespace: "", words: nil)
      if words
        return Call.json { |buf, error| Native.events_search(@engine.handle, Call.str(words), buf, error) }
      end

      Call.json { |buf, error| Native.events_list(@engine.handle, Call.str(namespace), buf, error) }
    end

    # Ends all subscriptions.
    # @return [nil]
    def close
      @subscriptions.each(&:close)
      @subscriptions = []
      nil
    end

    # An event that was looked up.
    # @api private
    class Topic
      def initialize(handle)
        @handle = handle
        ObjectSpace.define_finalizer(self, Topic.release(handle))
      end

      def self.release(handle) = ->(_id) { Native.topic_free(handle) }

      def heard? = Native.topic_is_heard(@handle) == 1
    end

    private

    # nil for an event that is not in the catalogue, now: it may be defined later.
    def topic(name)
      handle = Call.handle { |place, error| Native.topic_get(@engine.handle, Call.str(name), place, error) }
      @topics.store(name.is_a?(String) ? -name : name, Topic.new(handle))
    rescue NotFound
      nil
    end

    def json(payload)
      JSON.generate(payload)
    rescue JSON::GeneratorError => e
      raise InvalidArgument.new("payload: #{e.message}", field: "payload")
    end
  end
end
