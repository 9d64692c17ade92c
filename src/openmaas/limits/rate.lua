-- `borrowing.lend_rate`, whole and atomic. KEYS[1]: a hash of what was lent by grain.
-- ARGV: amount, least, wish, first, parts, grain ms, window ms, number of returns, then (grain, amount) of each return
-- and (age in ms, amount) of what was used without being borrowed.
local amount, least, wish, first, parts = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local grain_ms, window_ms, returns = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local lent, sum = {}, 0
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local grain = tonumber(flat[i])
  if (grain + 1) * grain_ms + window_ms <= now_ms then
    redis.call('HDEL', KEYS[1], flat[i])
  else
    lent[grain] = tonumber(flat[i + 1])
    sum = sum + lent[grain]
  end
end
local function put(grain, value)
  sum = sum + value - (lent[grain] or 0)
  lent[grain] = value
  redis.call('HSET', KEYS[1], string.format('%d', grain), string.format('%d', value))
end
for i = 9, #ARGV, 2 do
  local number, change = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  if i < 9 + 2 * returns then
    if lent[number] then put(number, math.max(0, lent[number] - change)) end
  else
    local grain = math.floor((now_ms - number) / grain_ms)
    put(grain, (lent[grain] or 0) + change)
  end
end
local grain = math.floor(now_ms / grain_ms) + 1
local free = math.max(0, amount - sum)
local granted = math.max(0, math.min(free, math.max(least, math.min(wish, math.floor(free / math.max(1, parts))))))
if granted > 0 then put(grain, (lent[grain] or 0) + granted) end
local free_in_ms = 0
if granted < first then
  local missing, grains = first - free, {}
  for known in pairs(lent) do grains[#grains + 1] = known end
  table.sort(grains)
  free_in_ms = window_ms
  for _, known in ipairs(grains) do
    missing = missing - lent[known]
    if missing <= 0 then
      free_in_ms = (known + 1) * grain_ms + window_ms - now_ms
      break
    end
  end
end
redis.call('PEXPIRE', KEYS[1], window_ms + 2 * grain_ms)
return {granted, grain, (grain + 1) * grain_ms - now_ms, free - granted, free_in_ms}
