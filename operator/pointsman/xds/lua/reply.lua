-- Answers of our own, in the shape that OpenAI's clients expect.
local ESCAPED = { ['"'] = '\\"', ["\\"] = "\\\\" }

-- A JSON string.
local function quoted(text)
  return '"' .. string.gsub(text, '[%c"\\\127]', function(c)
    return ESCAPED[c] or string.format("\\u%04x", string.byte(c))
  end) .. '"'
end

-- Sends an error and ends the request: this does not return.
local function refuse(handle, status, reason, message, param, code)
  give_reason(handle, reason)
  local body = '{"error":{"message":' .. quoted(message) .. ',"type":"invalid_request_error","param":'
    .. (param and quoted(param) or "null") .. ',"code":' .. quoted(code) .. "}}"
  handle:respond({ [":status"] = status, ["content-type"] = "application/json" }, body)
end
