# SPDX-License-Identifier: MIT OR Apache-2.0
# frozen_string_literal: true

ActiveRecord::Schema.define(version: 1) do
  create_table :items, force: true do |table|
    table.string :name, null: false
  end
end
