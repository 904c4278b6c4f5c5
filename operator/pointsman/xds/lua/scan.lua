-- Finds the value of the top-level "model" in a JSON object, in one pass, without building anything.
local byte, find, gsub, lower, match, sub = string.byte, string.find, string.gsub, string.lower, string.match, string.sub

-- UTF-8 bytes of a code point.
local function utf8(code)
  local function tail(shift)
    return 128 + math.floor(code / shift) % 64
  end
  if code < 128 then
    return string.char(code)
  elseif code < 2048 then
    return string.char(192 + math.floor(code / 64), tail(1))
  elseif code < 65536 then
    return string.char(224 + math.floor(code / 4096), tail(64), tail(1))
  end
  return string.char(240 + math.floor(code / 262144), tail(4096), tail(64), tail(1))
end

local PLAIN = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

-- The text that a JSON string stands for, given what is between its quotes.
local function unescape(text)
  if not find(text, "\\", 1, true) then
    return text
  end
  -- First the backslashes that stand for themselves: each one left begins an escape.
  text = gsub(text, "\\\\", "\\u005c")
  text = gsub(text, "\\u([dD][89abAB]%x%x)\\u([dD][c-fC-F]%x%x)", function(high, low)
    return utf8(65536 + (tonumber(high, 16) - 55296) * 1024 + tonumber(low, 16) - 56320)
  end)
  text = gsub(text, "\\u(%x%x%x%x)", function(hex)
    local code = tonumber(hex, 16)
    if code == 92 then
      return "\\\\"
    end
    return utf8(code)
  end)
  return (gsub(text, "\\(.)", function(c)
    return PLAIN[c] or c
  end))
end

-- Is the key whose quotes are at `open` and `close` "model", as the most lenient parser reads it? Some servers
-- take keys in any case, and \u006d is an m: both would let a client name the model behind our back.
-- The second value is what the look has cost, in work as `scan` counts it.
local function names_model(s, open, close)
  local length = close - open - 1
  if length == 5 then
    return lower(sub(s, open + 1, close - 1)) == "model", 10
  elseif length < 5 or length > 30 then
    return false, 0
  end
  local key = sub(s, open + 1, close - 1)
  if not find(key, "\\", 1, true) then
    return false, 10
  end
  return lower(unescape(key)) == "model", 200
end

-- Returns (problem, values, seen, stopped, work): `values` holds first and last offset of the quoted value of every
-- top-level "model" (quotes included) in turn, `seen` counts the keys. A problem is a reason: body_unreadable if `s` is
-- no JSON object, body_hostile if the work (bytes outside strings, quotes, backslashes before quotes, keys looked at)
-- exceeds `budget`; then `stopped` is the offset from which on nothing was read. Without a problem `work` is what was
-- needed. Strings are skipped with a plain find, which runs at memory speed.
local function scan(s, budget)
  local at, depth, work, seen = 1, 0, 0, 0
  local values, key_next, value_next = {}, false, false
  if sub(s, 1, 3) == "\239\187\191" then
    at = 4 -- a byte order mark, which parsers of bytes forgive
  end
  while true do
    local c = byte(s, at)
    work = work + 1
    if work > budget then
      return "body_hostile", values, seen, at
    elseif c == 34 then -- a string: find the quote that ends it, the first after an even number of backslashes
      local close = at
      repeat
        close = find(s, '"', close + 1, true)
        if not close then
          return "body_unreadable", values, seen
        end
        local back = close - 1
        while byte(s, back) == 92 do
          back = back - 1
        end
        work = work + close - back
        if work > budget then
          return "body_hostile", values, seen, at
        end
      until (close - back) % 2 == 1
      if depth == 1 then
        if key_next then
          key_next = false
          local cost
          value_next, cost = names_model(s, at, close)
          work = work + cost
          if value_next then
            seen = seen + 1
          end
        elseif value_next then
          value_next = false
          values[#values + 1] = at
          values[#values + 1] = close
        end
      elseif depth == 0 then
        return "body_unreadable", values, seen
      end
      at = close
    elseif c == 123 or c == 91 then -- { [
      depth = depth + 1
      value_next = false
      if depth == 1 then
        if c == 91 then
          return "body_unreadable", values, seen
        end
        key_next = true
      end
    elseif c == 125 or c == 93 then -- } ]
      depth = depth - 1
      if depth == 0 then
        return nil, values, seen, nil, work
      elseif depth < 0 then
        return "body_unreadable", values, seen
      end
    elseif c == 44 then -- ,
      if depth == 1 then
        key_next, value_next = true, false
      end
    elseif c == nil or depth == 0 and c ~= 32 and c ~= 10 and c ~= 13 and c ~= 9 then
      return "body_unreadable", values, seen
    end
    at = at + 1
  end
end
