-- The requests of one route, for wrk. Arguments: method, a file with one path a line, a file with the body in which
-- @@UNIQUE@@ stands for something new in every request ("-" without a body), what makes this run's texts unique, and a
-- file with the bearer token ("-" without one).
-- Threads take turns through the paths. The last line printed is the summary as JSON.

local threads = 0

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

function init(args)
  method, run, count = args[1], args[4], 0
  headers = { ["Accept"] = "application/json", ["Content-Type"] = "application/json" }
  if args[5] and args[5] ~= "-" then
    local token = assert(io.open(args[5], "r"))
    headers["Authorization"] = "Bearer " .. token:read("*l")
    token:close()
  end
  requests, paths, pieces = {}, {}, {}
  for path in io.lines(args[2]) do
    paths[#paths + 1] = path
    requests[#requests + 1] = wrk.format(method, path, headers)
  end
  if args[3] ~= "-" then
    local file = assert(io.open(args[3], "r"))
    local rest = file:read("*a") .. "@@UNIQUE@@"
    file:close()
    for piece in rest:gmatch("(.-)@@UNIQUE@@") do
      pieces[#pieces + 1] = piece
    end
  end
end

function request()
  count = count + 1
  local which = (count + id * 7) % #paths + 1
  if #pieces == 0 then
    return requests[which]
  end
  return wrk.format(method, paths[which], headers, table.concat(pieces, run .. "-" .. id .. "-" .. count))
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "errors": %d, "bytes": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout, summary.bytes))
end
