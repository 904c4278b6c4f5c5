-- Health of a RolloutAction: it is healthy once the operator has looked at it. That it had no effect, because what
-- it named is not so any more, is no fault that stays: the message says so.
local status = obj.status or {}
if status.effect == nil then
  return {status = "Progressing", message = "The operator has not looked at it yet"}
end
if status.effect == "NoEffect" then
  return {status = "Healthy", message = "No effect: " .. (status.message or "")}
end
return {status = "Healthy", message = status.message or ""}
