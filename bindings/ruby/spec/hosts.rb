# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "fileutils"
require "socket"

# Real servers, each on a socket or port of its own in a folder that goes with it.
module Hosts
  EXAMPLES = File.expand_path("../../../examples/ruby", __dir__)
  LIB = File.expand_path("../lib", __dir__)

  # An answer to a request.
  Answer = Struct.new(:status, :headers, :body)

  # A process that is ended by its id, with what it said.
  class Server
    attr_reader :pid

    def initialize(folder, *command, env: {}, chdir: folder)
      @log = File.join(folder, "#{File.basename(command.first)}.log")
      env = { "RUBYLIB" => LIB, "RUBYOPT" => "-W:no-deprecated" }.merge(env)
      @pid = Process.spawn(env, *command, chdir: chdir, in: File::NULL, %i[out err] => [@log, "a"])
    end

    def said = File.read(@log)

    def signal(name) = Process.kill(name, @pid)

    def alive? = Process.wait(@pid, Process::WNOHANG).nil?

    # Ends it, and waits until it has.
    def stop(signal = :TERM)
      Process.kill(signal, @pid)
      Process.wait(@pid)
    rescue Errno::ESRCH, Errno::ECHILD
      nil
    end
  end

  # A web server behind a unix socket.
  class Web < Server
    def initialize(folder, *command, **options)
      @socket = File.join(folder, "http.socket")
      super(folder, *command.map { |word| word.sub("SOCKET", @socket) }, **options)
    end

    # Waits for the first answer.
    def wait(path = "/")
      deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 120
      begin
        get(path)
      rescue SystemCallError, EOFError
        raise "no answer:\n#{said}" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline || !alive?

        sleep 0.05
        retry
      end
      self
    end

    def get(path, headers = {}) = request("GET", path, headers)

    def request(method, path, headers = {}, body = "")
      UNIXSocket.open(@socket) do |socket|
        head = { "Host" => "localhost", "Connection" => "close", "Content-Length" => body.bytesize }.merge(headers)
        socket.write("#{method} #{path} HTTP/1.1\r\n#{head.map { |name, value| "#{name}: #{value}\r\n" }.join}\r\n#{body}")
        read(socket.read)
      end
    end

    # Requests from several clients that await every answer; how many were answered with 2xx.
    def ask(path, each, clients: 4)
      threads = Array.new(clients) { Thread.new { each.times.count { get(path).status / 100 == 2 } } }
      threads.sum(&:value)
    end

    private

    def read(text)
      head, body = text.to_s.split("\r\n\r\n", 2)
      raise EOFError, "no answer" unless body

      first, *fields = head.lines(chomp: true)
      headers = fields.to_h { |field| field.split(/:\s*/, 2) }.transform_keys(&:downcase)
      body = unchunk(body) if headers["transfer-encoding"] == "chunked"
      Answer.new(first.split[1].to_i, headers, body.force_encoding(Encoding::UTF_8))
    end

    def unchunk(body)
      text = +""
      until (size = body.to_i(16)).zero?
        body = body.split("\r\n", 2).last
        text << body.byteslice(0, size)
        body = body.byteslice((size + 2)..)
      end
      text
    end
  end

  # A Redis without a file.
  class Redis < Server
    attr_reader :url

    # @param port [Integer] the default was free a moment ago
    def initialize(folder, port = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] })
      @url = "redis://127.0.0.1:#{port}/0"
      super(folder, "redis-server", "--port", port.to_s, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder)
    end

    # The answer to a command, as redis-cli prints it.
    def ask(*words) = IO.popen(["redis-cli", "-u", @url, *words], err: File::NULL, &:read).chomp
  end
end
