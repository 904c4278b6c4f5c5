-- Reads an answer as it passes, JSON or event stream, in bounded memory. In JSON text a quote inside a string is
-- escaped, so `"usage"` with bare quotes and a colon after it is always a key: no parsing is needed to find one.
local CARRY = 512 -- bytes kept from one chunk to the next: longer than any key with the value that we read

-- Is there a `key` in `s` whose value looks like `value` (an anchored pattern that starts at the colon)?
local function has(s, key, value)
  local _, last = find(s, key, 1, true)
  while last do
    if find(s, value, last + 1) then
      return true
    end
    _, last = find(s, key, last + 1, true)
  end
  return false
end

local TEXT, LIST, OBJECT = '^%s*:%s*"[^"]', "^%s*:%s*%[%s*{", "^%s*:%s*{"

local function has_content(s)
  return has(s, '"content"', TEXT) or has(s, '"content"', LIST) or has(s, '"tool_calls"', LIST)
    or has(s, '"text"', TEXT) or has(s, '"function_call"', OBJECT)
end

-- A count of tokens; nil for what no count can be: its digits would be no JSON number when written again.
local function count_of(digits)
  return digits and #digits <= 12 and tonumber(digits) or nil
end

-- The digits under `key`, looked for from `at` on. A plain find, then a short match: half the cost of one pattern.
local function number_under(s, key, at)
  local _, last = find(s, key, at, true)
  return last and match(s, "^%s*:%s*(%d+)", last + 1)
end

local function read_usage(seen, s)
  local at = find(s, '"usage"', 1, true)
  while at do
    local prompt = number_under(s, '"prompt_tokens"', at) or number_under(s, '"input_tokens"', at)
    local completion = number_under(s, '"completion_tokens"', at) or number_under(s, '"output_tokens"', at)
    seen.prompt = count_of(prompt) or seen.prompt
    seen.completion = count_of(completion) or seen.completion
    at = find(s, '"usage"', at + 7, true)
  end
end

-- Takes the next bytes of an answer into account; `seen` starts as {bytes = 0}. An answer in one chunk, the most
-- usual, is not copied.
local function read_chunk(seen, data)
  local window = seen.carry and seen.carry .. data or data
  seen.carry = sub(window, -CARRY)
  if not seen.model and seen.bytes < 65536 then
    local _, last = find(window, '"model"', 1, true)
    seen.model = last and match(window, '^%s*:%s*"([^"\\]+)"', last + 1)
  end
  seen.bytes = seen.bytes + #data
  if not seen.choices then
    seen.choices = find(window, '"choices"', 1, true) ~= nil
  end
  if not seen.content then
    seen.content = has_content(window)
  end
  if not seen.refusal then
    seen.refusal = has(window, '"refusal"', TEXT)
  end
  read_usage(seen, window)
end

-- Did a good answer hold neither text nor a tool call? Only chat and completion answers can tell.
local function is_empty(seen)
  return seen.bytes == 0 or (seen.choices and not seen.content and not seen.refusal) or false
end
