-- Puts up a note for the ranks of a generation. ARGV: generation, most notes, key, note.
-- The first note of a newer generation takes the older ones down; a note of an older one goes nowhere.
if redis.call('EXISTS', META) == 0 then return 'over' end
local generation = tonumber(ARGV[1])
local newest = tonumber(redis.call('HGET', BOARD, 'generation') or '0')
if generation < newest then return 'old' end
if generation > newest then
  redis.call('DEL', BOARD)
  redis.call('HSET', BOARD, 'generation', ARGV[1])
end
if redis.call('HLEN', BOARD) > tonumber(ARGV[2]) then return 'full' end
redis.call('HSET', BOARD, 'note:' .. ARGV[3], ARGV[4])
return 'posted'
