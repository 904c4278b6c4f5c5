-- What the scripts and the rooms around Envoy agree on; a unit test holds these equal to contract.py.
local NAMESPACE = "pointsman"
local CLUSTER_CAPTURE = "pointsman-capture"
local HEADER = {
  SESSION = "x-session-id",
  REQUEST_ID = "x-request-id",
  NO_CAPTURE = "x-pointsman-no-capture",
  KEY = "x-pointsman-key",
  MODEL_AT = "x-pointsman-model-at",
  SHADOW = "x-pointsman-shadow",
  SERVED_TIER = "x-pointsman-served-tier",
  REVISION = "x-pointsman-revision",
  REASON = "x-pointsman-reason",
}
local DECISION, ANSWER = "decision", "answer"
local KEY = {
  POLICY = "policy",
  REVISION = "revision",
  ROUTE = "route",
  TIER = "tier",
  SERVED_TIER = "served_tier",
  REASON = "reason",
  SCORE = "score",
  INTENT = "intent",
  DECISION_US = "decision_us",
  STREAM = "stream",
  PROMPT_TOKENS = "prompt_tokens",
  COMPLETION_TOKENS = "completion_tokens",
  ANSWER_MODEL = "answer_model",
  EMPTY = "empty",
  REFUSAL = "refusal",
  ROLLOUT = "rollout",
  CAPTURED = "captured",
}
local REASON = {
  SCORE = "score",
  BELOW_THRESHOLD = "below_threshold",
  INTENT_RULE = "intent_rule",
  PINNED = "pinned",
  ALWAYS_STRONG = "always_strong",
  CLASSIFIER_TIMEOUT = "classifier_timeout",
  CLASSIFIER_UNAVAILABLE = "classifier_unavailable",
  CLASSIFIER_ERROR = "classifier_error",
  CLASSIFIER_NONSENSE = "classifier_nonsense",
  BODY_TOO_LARGE = "body_too_large",
  BODY_EMPTY = "body_empty",
  BODY_UNREADABLE = "body_unreadable",
  BODY_HOSTILE = "body_hostile",
  SCRIPT_ERROR = "script_error",
  UNKNOWN_MODEL = "unknown_model",
  NO_POLICY = "no_policy",
}

-- Sets one key of our dynamic metadata. Handles of Envoy's objects die at every yield: never keep one.
local function set(handle, key, value)
  handle:streamInfo():dynamicMetadata():set(NAMESPACE, key, value)
end

local ESCAPED = { ['"'] = '\\"', ["\\"] = "\\\\" }

-- A JSON string in plain ASCII, whatever bytes `text` holds: a stray byte must not cost the evaluator a whole message.
local function quoted(text)
  if not string.find(text, '[%c"\\\127-\255]') then
    return '"' .. text .. '"'
  end
  text = string.gsub(text, '[%c"\\\127]', function(c)
    return ESCAPED[c] or string.format("\\u%04x", string.byte(c))
  end)
  text = string.gsub(text, "[\194-\239][\128-\191]+", function(c)
    local b1, b2, b3 = string.byte(c, 1, 3)
    if #c == 2 and b1 < 224 then
      return string.format("\\u%04x", (b1 - 192) * 64 + b2 - 128)
    elseif #c == 3 and b1 >= 224 then
      return string.format("\\u%04x", (b1 - 224) * 4096 + (b2 - 128) * 64 + b3 - 128)
    end
  end)
  return '"' .. string.gsub(text, "[\128-\255]", "?") .. '"'
end

-- Counts a reason in Envoy (own counters: Envoy 1.38 and later).
local function count(handle, reason)
  if handle.stats then
    handle:stats():counter("pointsman.reason." .. reason):inc()
  end
end

-- Microseconds since 1970, as text: Lua would write the number as 1.76e+15.
local function now_us(handle)
  return handle:timestampString(EnvoyTimestampResolution.MICROSECOND)
end

-- A number of a context, where floats may come as strings; a key that is not there gives no value at all, not nil.
local function number(value)
  return tonumber(value)
end

-- Returns a function that finds the table of a request's route by its id, made by `make(context)` on first sight.
-- A worker keeps the tables of the routes it has seen; the bound only matters after hundreds of changes.
local function memo(make)
  local known, count = {}, 0
  return function(handle)
    local context = handle:filterContext()
    local id = context and context:get("id")
    if not id then
      return nil
    end
    local made = known[id]
    if made == nil then
      if count >= 1024 then
        known, count = {}, 0
      end
      made = make(context)
      known[id] = made
      count = count + 1
    end
    return made
  end
end
