-- wrk script: the ordinary traffic of a small shop.
-- Arguments: how many responses to take before stopping, seed.
-- No HEAD here: wrk waits for the body that Content-Length announces and never
-- comes. ab sends those.

local agents = {
  "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
  "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
  "curl/7.88.1",
  "shop-sync/2.3 (+https://shop.example/bot)",
}
local referers = {
  "https://shop.example/", "https://shop.example/search?q=tea", "https://search.example/?q=t%C3%A9", nil,
}
local sizes = {
  0, 1, 127, 128, 129, 500, 512, 1024, 3000, 4096, 9000, 16384, 40000, 65536,
  150000, 262144, 700000, 1048576, 2500000,
}
local words = { "tea", "green+tea", "caf%C3%A9", "tea%2C+loose", "%E8%8C%B6", "100%25" }

local function any(list) return list[math.random(#list)] end
local function id() return math.random(1, 20000) end

-- weight, method, path, body
local kinds = {
  { 14, "GET", function() return "/" end },
  { 3, "GET", function() return "/index.html" end },
  { 8, "GET", function() return "/static/app.css" end },
  { 8, "GET", function() return "/static/app.js" end },
  { 5, "GET", function() return "/static/img/logo.png" end },
  { 10, "GET", function() return "/search?q=" .. any(words) .. "&page=" .. math.random(1, 9) end },
  { 9, "GET", function() return "/api/products/" .. id() end },
  { 5, "GET", function() return "/api/products?sort=price&limit=" .. math.random(10, 50) end },
  { 5, "GET", function() return "/api/orders/" .. id() .. "/items/" .. math.random(1, 9) end },
  { 4, "POST", function() return "/api/orders" end, '{"product":17,"count":2}' },
  { 2, "PUT", function() return "/api/cart/" .. id() end, '{"count":3}' },
  { 2, "PATCH", function() return "/api/cart/" .. id() end, '{"count":4}' },
  { 2, "DELETE", function() return "/api/cart/" .. id() end },
  { 1, "OPTIONS", function() return "/api/orders" end },
  { 4, "GET", function() return "/download/" .. any(sizes) .. ".bin" end },
  { 4, "POST", function() return "/login" end, "user=alice&password=..." },
  { 2, "GET", function() return "/login" end },
  { 2, "GET", function() return "/account" end },
  { 3, "GET", function() return "/health" end },
  { 2, "GET", function() return "/old-shop" end },
  { 1, "GET", function() return "/admin/" .. any({ "users", "logs" }) end },
  { 2, "GET", function() return "/blog/" .. any({ "2024", "2025" }) .. "/" .. id() end },
  { 1, "GET", function() return "/favicon.ico" end },
  { 1, "POST", function() return "/index.html" end, "a=1" },
}
local total_weight = 0
for _, kind in ipairs(kinds) do total_weight = total_weight + kind[1] end

local threads = {}
function setup(thread) threads[#threads + 1] = thread end

function init(args)
  wanted = tonumber(args[1])
  math.randomseed(tonumber(args[2]))
  taken = 0
end

-- Up to 20 ms between requests of one connection: the log then spans several
-- seconds instead of a fraction of one.
function delay() return math.random(0, 20) end

function request()
  local pick = math.random(total_weight)
  for _, kind in ipairs(kinds) do
    pick = pick - kind[1]
    if pick <= 0 then
      local headers = { ["User-Agent"] = any(agents), ["Referer"] = referers[math.random(4)] }
      return wrk.format(kind[2], kind[3](), headers, kind[4])
    end
  end
end

function response()
  taken = taken + 1
  if taken >= wanted then wrk.thread:stop() end
end
