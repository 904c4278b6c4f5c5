-- Names the conversation that a request belongs to: a hash of its system prompt and its first user turn, which stay
-- the same while turns are added. Read in one pass, and no further than the first user turn where that is enough.

-- Longest part of a text that is hashed, from each of its ends. Texts alike in both and in length share an arm.
local ENDS = 1024

-- Folds s[first..last] into a hash below 2^31. Three bytes a step, so that no product leaves what a double holds.
local function fold_bytes(hash, s, first, last)
  local at = first
  while at + 5 <= last do
    local a, b, c, d, e, f = byte(s, at, at + 5)
    hash = (hash * 65599 + a * 65536 + b * 256 + c) % 2147483647
    hash = (hash * 65599 + d * 65536 + e * 256 + f) % 2147483647
    at = at + 6
  end
  while at <= last do
    hash = (hash * 65599 + byte(s, at) + 16777216) % 2147483647
    at = at + 1
  end
  return hash
end

local function fold(hash, s, span)
  if not span then
    return (hash * 65599 + 1) % 2147483647
  end
  local first, last = span[1], span[2]
  hash = (hash * 65599 + (last - first)) % 2147483647
  if last - first < 2 * ENDS then
    return fold_bytes(hash, s, first, last)
  end
  return fold_bytes(fold_bytes(hash, s, first, first + ENDS - 1), s, last - ENDS + 1, last)
end

local LISTS = { messages = true, input = true }
local TEXTS = { input = "user", prompt = "user", instructions = "system" }
local ROLES = { user = "user", system = "system", developer = "system" }

-- Returns the spans of the system prompt (nil if there is none) and of the first user turn, each {first, last} in bytes;
-- nothing if no user turn was found within `budget`, which is work as `scan` counts it. `s` is a JSON object.
local function opening(s, budget)
  local at, depth, work = 1, 0, 0
  local key, key_next, list -- of the object that is looked at; the top-level member whose list we are in
  local message, from -- the message that we are in; where its content began, if that is no string
  local found = {}
  while true do
    local c = byte(s, at)
    work = work + 1
    if c == nil or work > budget then
      return nil
    elseif c == 34 then
      local close = at
      repeat
        close = find(s, '"', close + 1, true)
        if not close then
          return nil
        end
        local back = close - 1
        while byte(s, back) == 92 do
          back = back - 1
        end
        work = work + close - back
        if work > budget then
          return nil
        end
      until (close - back) % 2 == 1
      if depth == 1 or depth == 3 and message then
        if key_next then
          key_next, work = false, work + 10
          key = close - at < 16 and sub(s, at + 1, close - 1) or nil
        elseif key then
          local part = depth == 1 and TEXTS[key]
          if part then
            found[part] = found[part] or { at, close }
          elseif depth == 3 and key == "role" then
            message.role = ROLES[sub(s, at + 1, close - 1)]
          elseif depth == 3 and key == "content" then
            message.content = { at, close }
          end
          key = nil
        end
      end
      at = close
    elseif c == 123 or c == 91 then -- { [
      if depth == 0 then
        key_next = true
      elseif depth == 1 then
        list = c == 91 and LISTS[key] and key or nil
      elseif depth == 2 and c == 123 and list then
        message, key_next = {}, true
      elseif depth == 3 and message and key == "content" then
        from = at
      end
      if not key_next then
        key = nil
      end
      depth = depth + 1
    elseif c == 125 or c == 93 then -- } ]
      depth = depth - 1
      if depth == 3 and from then
        message.content, from = { from, at }, nil
      elseif depth == 2 and message then
        if message.role then
          -- A system prompt that is added later must not move the conversation.
          found[message.role] = found[message.role] or not found.user and message.content or nil
        end
        if found.user and (list == "messages" or found.system) then
          return found.system, found.user
        end
        message, key, key_next = nil, nil, false
      elseif depth == 1 then
        list = nil
      elseif depth <= 0 then
        return found.system, found.user
      end
    elseif c == 44 and (depth == 1 or depth == 3 and message) then -- ,
      key, key_next = nil, true
    end
    at = at + 1
  end
end

-- The conversation's name; nil if there is none that could be read.
local function conversation(s, budget)
  local system, user = opening(s, budget)
  return user and string.format("%d", fold(fold(0, s, system), s, user))
end
