-- `borrowing.lend_seats`, whole and atomic. KEYS[1]: a hash of "seats:until ms" by relay.
-- ARGV: amount, kept, least, wish, parts, relay, term ms.
local amount, kept, least, wish, parts = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local relay, term_ms = ARGV[6], tonumber(ARGV[7])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local others = 0
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local seats, until_ms = string.match(flat[i + 1], '(%d+):(%d+)')
  if flat[i] == relay or tonumber(until_ms) <= now_ms then
    redis.call('HDEL', KEYS[1], flat[i])
  else
    others = others + tonumber(seats)
  end
end
local free = math.max(0, amount - others - kept)
local more = math.max(0, math.min(free, math.max(least - kept, math.min(wish - kept, math.floor(free / math.max(1, parts))))))
if kept + more > 0 then
  redis.call('HSET', KEYS[1], relay, string.format('%d:%d', kept + more, now_ms + term_ms))
  redis.call('PEXPIRE', KEYS[1], term_ms)
end
return {kept + more, 0, term_ms, free - more, 0}
