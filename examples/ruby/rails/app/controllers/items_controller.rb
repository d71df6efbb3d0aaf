# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

class ItemsController < ActionController::API
  def index
    render json: Item.order(:id)
  end

  def show
    render json: Item.find(params[:id])
  rescue ActiveRecord::RecordNotFound
    head :not_found
  end

  def create
    item = Item.create!(name: params.require(:name))
    Tallyport.counter(:items_created_total).increment
    render json: item, status: :created
  end
end
