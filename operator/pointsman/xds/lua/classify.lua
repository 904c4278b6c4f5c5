-- Triton's binary answer to scores and an intent, and the rule that makes a tier of them. Plain Lua: no ffi.
local byte, find, floor, gmatch, ldexp, match, sub =
  string.byte, string.find, math.floor, string.gmatch, math.ldexp, string.match, string.sub

-- A little-endian IEEE 754 single at offset `at`; nil for infinities and NaN.
local function float32(s, at)
  local b0, b1, b2, b3 = byte(s, at, at + 3)
  local exponent = b3 % 128 * 2 + floor(b2 / 128)
  local fraction = b2 % 128 * 65536 + b1 * 256 + b0
  local value
  if exponent == 255 then
    return nil
  elseif exponent == 0 then
    value = ldexp(fraction, -149)
  else
    value = ldexp(fraction + 8388608, exponent - 150)
  end
  return b3 >= 128 and -value or value
end

-- Where score and intent lie behind the JSON header of an answer. The header is the same for answers whose intent
-- has the same length, so it is read once and remembered.
local layouts, layouts_known = {}, 0

local function layout_of(head)
  local known = layouts[head]
  if known then
    return known
  end
  local outputs = match(head, '"outputs"%s*:%s*(%[.*)')
  local layout, offset = {}, #head
  if outputs then
    for name, size in gmatch(outputs, '"name"%s*:%s*"([^"]*)".-"binary_data_size"%s*:%s*(%d+)') do
      layout[name] = { first = offset + 1, size = tonumber(size) }
      offset = offset + tonumber(size)
    end
  end
  if layouts_known >= 256 then
    layouts, layouts_known = {}, 0
  end
  layouts[head] = layout
  layouts_known = layouts_known + 1
  return layout
end

-- Returns scores (one per tier, 0..1) and the intent; nil if the answer is not what a bundle promises.
local function decode(head_size, answer, tiers)
  if not head_size or not answer or head_size > #answer then
    return nil
  end
  local layout = layout_of(sub(answer, 1, head_size))
  local score, intent = layout.score, layout.intent
  if not score or not intent or score.size ~= 4 * tiers or intent.size < 4 then
    return nil
  elseif score.first + score.size - 1 > #answer or intent.first + intent.size - 1 > #answer then
    return nil
  end
  local scores = {}
  for i = 1, tiers do
    local value = float32(answer, score.first + 4 * (i - 1))
    if not value or value < -1e-6 or value > 1 + 1e-6 then
      return nil
    end
    scores[i] = value
  end
  local b0, b1, b2, b3 = byte(answer, intent.first, intent.first + 3)
  if b0 + 256 * b1 + 65536 * b2 + 16777216 * b3 ~= intent.size - 4 then
    return nil
  end
  return scores, sub(answer, intent.first + 4, intent.first + intent.size - 1)
end

-- Returns tier, reason and score: the intent's own tier, else the cheapest that reaches its threshold, else the last.
-- A score counts to six decimals: 0.64 as a single is 0.63999998, and means 640 permille.
local function choose(arm, scores, intent)
  local fixed = arm.intents[intent]
  if fixed then
    return fixed, "intent_rule", scores[fixed]
  end
  local best
  for _, threshold in ipairs(arm.thresholds) do
    local score = scores[threshold.tier]
    if floor(score * 1e6 + 0.5) >= threshold.permille * 1000 then
      return threshold.tier, "score", score
    elseif not best or score > best then
      best = score
    end
  end
  return arm.last, "below_threshold", best or scores[arm.last]
end
