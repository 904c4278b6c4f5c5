-- Dispatch: which policy is this request's? Reads the body once, names the policy in metadata that routes match on,
-- and leaves what the next script needs in two headers of ours: what the arm is hashed on, and where the model is.
-- include names.lua
-- include scan.lua
-- include conversation.lua
-- include reply.lua

local host_of = memo(function(context)
  local host = {
    models = context:get("models"),
    sole = context:get("sole"),
    budget = number(context:get("budget")),
    split = context:get("split"),
  }
  local names = {}
  for model in pairs(host.models) do
    names[#names + 1] = model
  end
  table.sort(names)
  host.listed = {}
  for i, model in ipairs(names) do
    host.listed[i] = '{"id":' .. quoted(model) .. ',"object":"model","created":0,"owned_by":"pointsman"}'
  end
  host.list = '{"object":"list","data":[' .. table.concat(host.listed, ",") .. "]}"
  return host
end)

-- What a request's arm is hashed on: the client's own name of the session where the policy asks for that, else the
-- conversation, else the request alone. The salt gives each rollout another slice.
local function key_of(sticky, headers, bytes, budget)
  local named = sticky.header ~= "" and headers:get(sticky.header)
  if named and named ~= "" then
    return sticky.salt .. "/s/" .. named
  end
  local known = bytes and conversation(bytes, budget)
  if known then
    return sticky.salt .. "/c/" .. known
  end
  return sticky.salt .. "/r/" .. (headers:get(HEADER.REQUEST_ID) or "none")
end

-- Puts the request on a policy's route. `note` is "first:last:arrival" (offsets of the quoted model, and when the
-- body was there in µs), or the reason why there is none; `bytes` is a body that was read with `budget` left.
local function send_on(handle, host, policy, note, bytes, budget)
  local headers = handle:headers()
  local sticky = host.split and host.split[policy]
  if sticky then
    headers:replace(HEADER.KEY, key_of(sticky, headers, bytes, budget))
  end
  headers:replace(HEADER.MODEL_AT, note)
  set(handle, KEY.POLICY, policy)
  handle:clearRouteCache()
end

local function without_model(handle, host, reason)
  if host.sole then
    send_on(handle, host, host.sole, reason)
  else
    refuse(handle, "400", REASON.NO_POLICY, "The request names no model that could be read, and several policies share "
      .. "this host. Send a JSON object with a string member model.", "model", REASON.NO_POLICY)
  end
end

local function unknown(handle, model)
  local shown = #model > 200 and sub(model, 1, 200) .. "…" or model
  refuse(handle, "404", REASON.UNKNOWN_MODEL, "The model " .. shown .. " does not exist on this host. "
    .. "GET /v1/models lists those that do.", "model", "model_not_found")
end

local function dispatch(handle)
  local body = handle:body()
  local arrival = now_us(handle)
  local host = host_of(handle)
  local headers = handle:headers()
  if not host then
    return unknown(handle, "asked for")
  end
  if not body and headers:get(":method") == "GET" and match(headers:get(":path"), "^/v1/models/?%??") then
    local path = headers:get(":path")
    if match(path, "^/v1/models/?$") or match(path, "^/v1/models/?%?") then
      return handle:respond({ [":status"] = "200", ["content-type"] = "application/json" }, host.list)
    end
  end
  local length = body and body:length() or 0
  if length == 0 then
    return without_model(handle, host, REASON.BODY_EMPTY)
  end
  local bytes = body:getBytes(0, length)
  local problem, at, seen, _, work = scan(bytes, host.budget)
  if problem then
    return without_model(handle, host, problem)
  elseif seen ~= 1 or #at ~= 2 then -- none, no string, or more than one: parsers differ on which one counts
    return without_model(handle, host, REASON.BODY_UNREADABLE)
  end
  local model = unescape(sub(bytes, at[1] + 1, at[2] - 1))
  local policy = host.models[model]
  if not policy then
    return unknown(handle, model)
  end
  send_on(handle, host, policy, at[1] .. ":" .. at[2] .. ":" .. arrival, bytes, host.budget - work)
end

function envoy_on_request(handle)
  local ok, problem = pcall(dispatch, handle)
  if not ok then
    handle:logErr("pointsman.dispatch: " .. tostring(problem))
    local _, host = pcall(host_of, handle)
    without_model(handle, type(host) == "table" and host or {}, REASON.SCRIPT_ERROR)
  end
end
