-- Answers of our own, in the shape that OpenAI's clients expect.
-- Sends an error and ends the request: this does not return.
local function refuse(handle, status, reason, message, param, code)
  set(handle, DECISION, '{"reason":"' .. reason .. '"}')
  count(handle, reason)
  local body = '{"error":{"message":' .. quoted(message) .. ',"type":"invalid_request_error","param":'
    .. (param and quoted(param) or "null") .. ',"code":' .. quoted(code) .. "}}"
  handle:respond({ [":status"] = status, ["content-type"] = "application/json" }, body)
end
