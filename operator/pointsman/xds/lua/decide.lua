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

-- Longest text to keep by policy: the way back has no context of its own, but it is on the same worker.
local most_of = {}

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
  local id, note = headers:get(HEADER.REQUEST_ID), headers:get(HEADER.MODEL_AT) or ""
  local plain_path = sub(headers:get(":path"), 1, 4) == "/v1/"
  local keep = arm.capture and not headers:get(HEADER.NO_CAPTURE) and sampled(id, arm.capture.permille)
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
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(NAMESPACE, KEY.REVISION, arm.revision)
  metadata:set(NAMESPACE, KEY.TIER, arm.tiers[tier])
  metadata:set(NAMESPACE, KEY.ROUTE, route)
  if score then
    metadata:set(NAMESPACE, KEY.SCORE, score)
    metadata:set(NAMESPACE, KEY.INTENT, intent)
  end
  if keep then
    metadata:set(NAMESPACE, KEY.CAPTURED, 1)
  end
  metadata:set(NAMESPACE, KEY.DECISION_US, tonumber(now_us(handle)) - tonumber(arrival))
  give_reason(handle, reason)
  handle:clearRouteCache()
end

function envoy_on_request(handle)
  local ok, problem = pcall(decide, handle)
  if not ok then
    handle:logErr("pointsman.decide: " .. tostring(problem))
    give_reason(handle, REASON.SCRIPT_ERROR)
  end
end

-- Reads the answer chunk by chunk as it passes; the client gets each one at once. Keeps a copy where one is due.
local function read_answer(handle, most)
  local seen, kept, size = { carry = "", bytes = 0 }, {}, 0
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

local function observe(handle)
  local known = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
  if not known then
    return
  end
  local headers = handle:headers()
  local status, kind = headers:get(":status"), headers:get("content-type") or ""
  headers:replace(HEADER.REASON, known[KEY.REASON] or REASON.SCRIPT_ERROR)
  if not known[KEY.REVISION] then
    return
  end
  headers:replace(HEADER.REVISION, known[KEY.REVISION])
  local served = headers:get(HEADER.SERVED_TIER)
  local attempt = headers:get(HEADER.ATTEMPT)
  if attempt then -- the short way: only a second attempt was answered by a listener that says who it is
    headers:remove(HEADER.ATTEMPT)
    if attempt == "1" then
      served = known[KEY.TIER]
      headers:replace(HEADER.SERVED_TIER, served)
    end
  end
  if served then
    set(handle, KEY.SERVED_TIER, served)
  end
  local most = known[KEY.CAPTURED] and most_of[known[KEY.POLICY]]
  local seen, kept = read_answer(handle, most)
  local metadata = handle:streamInfo():dynamicMetadata()
  if sub(kind, 1, 17) == "text/event-stream" then
    metadata:set(NAMESPACE, KEY.STREAM, 1)
  end
  if seen.prompt then
    metadata:set(NAMESPACE, KEY.PROMPT_TOKENS, seen.prompt)
  end
  if seen.completion then
    metadata:set(NAMESPACE, KEY.COMPLETION_TOKENS, seen.completion)
  end
  if seen.model then
    metadata:set(NAMESPACE, KEY.ANSWER_MODEL, seen.model)
  end
  if status == "200" and is_empty(seen) then
    metadata:set(NAMESPACE, KEY.EMPTY, 1)
  end
  if seen.refusal then
    metadata:set(NAMESPACE, KEY.REFUSAL, 1)
  end
  if most then
    capture(handle, "response", {
      [HEADER.REQUEST_ID] = handle:requestHeaders():get(HEADER.REQUEST_ID),
      ["content-type"] = kind ~= "" and kind or "application/octet-stream",
      ["x-pointsman-policy"] = known[KEY.POLICY],
      ["x-pointsman-revision"] = known[KEY.REVISION],
      ["x-pointsman-tier"] = served or known[KEY.TIER],
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
