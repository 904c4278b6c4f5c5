-- Decide: which tier serves? Until this script has said so, the request is on its way to the arm's last tier, so
-- whatever fails here costs money, never an answer. On the way back it reads the answer for the access log.
-- include names.lua
-- include classify.lua
-- include answer.lua

local DISPATCH_REASONS = {
  [REASON.BODY_EMPTY] = true,
  [REASON.BODY_UNREADABLE] = true,
  [REASON.BODY_HOSTILE] = true,
  [REASON.SCRIPT_ERROR] = true,
}

-- What the way back must know: it has no context of its own, but it is on the same worker. By policy, the longest
-- text to keep; by revision, the last tier.
local most_of, strong_of = {}, {}

local arm_of = memo(function(context)
  local arm = {
    policy = context:get("policy"),
    revision = context:get("revision"),
    tiers = context:get("tiers"),
    routes = context:get("routes"),
    direct = context:get("direct"),
    models = context:get("models"),
    pinned = number(context:get("pinned")),
    cluster = context:get("cluster"),
    limit = number(context:get("limit")),
    thresholds = {},
    intents = {},
  }
  arm.last = #arm.tiers
  strong_of[arm.revision] = arm.tiers[arm.last]
  local rollout = context:get("rollout")
  rollout = rollout and ',"rollout":' .. quoted(rollout) or ""
  arm.said = {} -- by tier, how the record of a decision begins
  for i, tier in ipairs(arm.tiers) do
    arm.said[i] = '{"revision":' .. quoted(arm.revision) .. ',"tier":' .. quoted(tier) .. rollout .. ',"reason":"'
  end
  if arm.cluster then
    arm.headers = {
      [":method"] = "POST",
      [":path"] = context:get("path"),
      [":authority"] = context:get("authority"),
      ["content-type"] = "application/octet-stream",
      ["inference-header-content-length"] = "0",
    }
    arm.call = { timeout_ms = number(context:get("deadline_ms")), send_xff = false }
    for i, threshold in ipairs(context:get("thresholds") or {}) do
      arm.thresholds[i] = { tier = tonumber(threshold.tier), permille = tonumber(threshold.permille) }
    end
    for intent, tier in pairs(context:get("intents") or {}) do
      arm.intents[intent] = tonumber(tier)
    end
  end
  local capture = context:get("capture")
  if capture then
    arm.capture = { permille = tonumber(capture.permille), bytes = tonumber(capture.bytes) }
    most_of[arm.policy] = arm.capture.bytes
  end
  return arm
end)

-- Is this request in the sample? By hash of its id, so request and answer agree and a client cannot choose.
local function sampled(id, permille)
  local number = id and tonumber(sub(id, 1, 7), 16)
  return number ~= nil and number % 1000 < permille
end

-- Sends text to the evaluator without waiting. Never raises: a capture must not cost a request.
local function capture(handle, what, headers, bytes, most)
  headers[":method"] = "POST"
  headers[":path"] = "/v1/capture/" .. what
  headers[":authority"] = CLUSTER_CAPTURE
  headers["x-pointsman-truncated"] = #bytes > most and "1" or "0"
  local options = { asynchronous = true, timeout_ms = 5000, send_xff = false }
  return (pcall(handle.httpCall, handle, CLUSTER_CAPTURE, headers, sub(bytes, 1, most), options))
end

-- Asks the classifier. Returns tier, reason, score, intent; without an answer in time, the last tier and why.
local function classify(handle, arm, bytes)
  if #bytes > arm.limit then
    return arm.last, REASON.BODY_TOO_LARGE
  end
  local headers, answer = handle:httpCall(arm.cluster, arm.headers, bytes, arm.call)
  local status = headers[":status"]
  if status == "504" then
    return arm.last, REASON.CLASSIFIER_TIMEOUT
  elseif status == "503" then
    return arm.last, REASON.CLASSIFIER_UNAVAILABLE
  elseif status ~= "200" then
    return arm.last, REASON.CLASSIFIER_ERROR
  end
  local scores, intent = decode(tonumber(headers["inference-header-content-length"]), answer, arm.last)
  if not scores then
    return arm.last, REASON.CLASSIFIER_NONSENSE
  end
  local tier, reason, score = choose(arm, scores, intent)
  return tier, reason, score, intent
end

-- The body's bytes, "" if there is none. Every handle taken before this is dead after it.
local function body_of(handle)
  local body = handle:body()
  local length = body and body:length() or 0
  return length > 0 and body:getBytes(0, length) or ""
end

local function decide(handle)
  local arm = arm_of(handle)
  if not arm then
    return
  end
  local headers = handle:headers()
  local note, plain_path = headers:get(HEADER.MODEL_AT) or "", sub(headers:get(":path"), 1, 4) == "/v1/"
  local id, keep
  if arm.capture and not headers:get(HEADER.NO_CAPTURE) then
    id = headers:get(HEADER.REQUEST_ID)
    keep = sampled(id, arm.capture.permille)
  end
  local first, last, arrival = match(note, "^(%d+):(%d+):(%d+)$")
  arrival = arrival or now_us(handle)
  local tier, reason, score, intent, bytes
  if DISPATCH_REASONS[note] then
    tier, reason = arm.last, note
  elseif arm.pinned then
    tier, reason = arm.pinned, REASON.PINNED
  elseif not arm.cluster then
    tier, reason = arm.last, REASON.ALWAYS_STRONG
  else
    bytes = body_of(handle)
    tier, reason, score, intent = classify(handle, arm, bytes)
  end
  local route = arm.routes[tier]
  if first and plain_path and arm.direct[tier] ~= "" then
    bytes = bytes or body_of(handle)
    handle:body():setBytes(sub(bytes, 1, first - 1) .. arm.models[tier] .. sub(bytes, last + 1))
    route = arm.direct[tier]
  end
  if keep then
    keep = capture(handle, "request", {
      [HEADER.REQUEST_ID] = id,
      ["content-type"] = "application/json",
      ["x-pointsman-policy"] = arm.policy,
      ["x-pointsman-revision"] = arm.revision,
      ["x-pointsman-tier"] = arm.tiers[tier],
    }, bytes or body_of(handle), arm.capture.bytes)
  end
  local said = arm.said[tier] .. reason
  if score then
    said = said .. '","score":' .. string.format("%.6f", score) .. ',"intent":' .. quoted(intent)
  else
    said = said .. '"'
  end
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(NAMESPACE, KEY.ROUTE, route)
  metadata:set(NAMESPACE, DECISION, said .. (keep and ',"captured":1' or "") .. ',"decision_us":'
    .. tonumber(now_us(handle)) - tonumber(arrival) .. "}")
  count(handle, reason)
  handle:clearRouteCache()
end

function envoy_on_request(handle)
  local ok, problem = pcall(decide, handle)
  if not ok then
    handle:logErr("pointsman.decide: " .. tostring(problem))
    local _, arm = pcall(arm_of, handle)
    local said = type(arm) == "table" and arm.said and arm.said[arm.last] or '{"reason":"'
    set(handle, DECISION, said .. REASON.SCRIPT_ERROR .. '"}')
    count(handle, REASON.SCRIPT_ERROR)
  end
end

-- Reads the answer chunk by chunk as it passes; the client gets each one at once. Keeps a copy where one is due.
local function read_answer(handle, most)
  local seen, kept, size = { bytes = 0 }, {}, 0
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if length > 0 then
      local data = chunk:getBytes(0, length)
      read_chunk(seen, data)
      if most and size <= most then
        kept[#kept + 1] = data
        size = size + length
      end
    end
  end
  return seen, kept
end

-- The record of an answer.
local function record(seen, served, status, kind)
  local said = (served and ',"served_tier":' .. quoted(served) or "")
    .. (sub(kind, 1, 17) == "text/event-stream" and ',"stream":1' or "")
    .. (seen.prompt and ',"prompt_tokens":' .. seen.prompt or "")
    .. (seen.completion and ',"completion_tokens":' .. seen.completion or "")
    .. (seen.model and ',"answer_model":' .. quoted(seen.model) or "")
    .. (status == "200" and is_empty(seen) and ',"empty":1' or "")
    .. (seen.refusal and ',"refusal":1' or "")
  return "{" .. sub(said, 2) .. "}"
end

local function observe(handle)
  local known = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
  local said = known and known[DECISION]
  if not said then
    return
  end
  local headers = handle:headers()
  headers:replace(HEADER.REASON, match(said, '"reason":"([^"]*)"'))
  local revision, tier = match(said, '^{"revision":"([^"]*)","tier":"([^"]*)"')
  if not revision then
    return
  end
  headers:replace(HEADER.REVISION, revision)
  local status, kind = headers:get(":status"), headers:get("content-type") or ""
  local served = headers:get(HEADER.SERVED_TIER)
  if served and byte(served) == 35 then -- "#1" or "#2": the short way, and the attempt that was answered
    served = served == "#1" and tier or strong_of[revision]
    headers:replace(HEADER.SERVED_TIER, served)
  end
  local most = find(said, '"captured":1', 1, true) and most_of[known[KEY.POLICY]]
  local seen, kept = read_answer(handle, most)
  set(handle, ANSWER, record(seen, served, status, kind))
  if most then
    capture(handle, "response", {
      [HEADER.REQUEST_ID] = handle:requestHeaders():get(HEADER.REQUEST_ID),
      ["content-type"] = kind ~= "" and kind or "application/octet-stream",
      ["x-pointsman-policy"] = known[KEY.POLICY],
      ["x-pointsman-revision"] = revision,
      ["x-pointsman-tier"] = served or tier,
      ["x-pointsman-status"] = status,
    }, table.concat(kept), most)
  end
end

function envoy_on_response(handle)
  local ok, problem = pcall(observe, handle)
  if not ok then
    handle:logErr("pointsman.observe: " .. tostring(problem))
  end
end
