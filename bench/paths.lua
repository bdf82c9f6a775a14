-- Asks for the paths of a file in turn (`-- FILE [PAUSE_MS]`), and prints what came of it as one line of JSON.

local requests, at = {}, 0

function init(args)
  for path in io.lines(args[1]) do requests[#requests + 1] = wrk.format("GET", path) end
  local pause = tonumber(args[2] or "0")
  -- wrk looks for this name once init has run. The pause is each connection's own, before each request.
  if pause > 0 then delay = function() return pause end end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\n{"requests":%d,"us":%d,"failed":%d,"p99us":%d}\n',
    summary.requests, summary.duration, failed, latency:percentile(99)))
end
