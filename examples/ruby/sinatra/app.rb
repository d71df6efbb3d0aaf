# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

require "sinatra/base"
require "tallyport"

# A shop with one shelf. Its metrics are those of all workers, whichever of them is asked.
class Shop < Sinatra::Base
  # A constant: found once, and every worker adds to the same value.
  SOLD = Tallyport.counter(:shop_items_sold_total)

  use Tallyport::Rack, path: "/metrics"
  use Tallyport::Rack::Requests

  get "/" do
    "open\n"
  end

  get "/items/:id" do
    Tallyport.counter(:shop_items_shown_total, shelf: params["id"].to_i / 100).increment
    "item #{params["id"].to_i}\n"
  end

  post "/items/:id/sales" do
    SOLD.increment
    status 201
  end
end
