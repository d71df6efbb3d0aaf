# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

Rails.application.routes.draw do
  resources :items, only: %i[index show create]
end
