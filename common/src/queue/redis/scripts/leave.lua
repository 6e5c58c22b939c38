-- A worker ends in good order. ARGV: worker.
local worker = ARGV[1]
if redis.call('EXISTS', META) == 0 then return 0 end
for _, pair in ipairs(leases_of(worker)) do
  event('handed-back', pair[1], pair[2].epoch, worker, release(pair[1], pair[2]))
end
redis.call('ZREM', SEEN, worker)
redis.call('XADD', HELLO, '*', 'worker', worker, 'hello', '')
return 1
