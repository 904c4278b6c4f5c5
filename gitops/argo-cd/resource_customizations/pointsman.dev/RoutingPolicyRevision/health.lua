-- Health of a RoutingPolicyRevision: a record, and a record is always healthy, also one of a failure. The message
-- tells how the last attempt ended.
local attempt = ((obj.status or {}).attempts or {})[1]
if attempt == nil then
  return {status = "Healthy", message = "No attempt has ended yet"}
end
local rollout = attempt.rollout
local message = "Attempt " .. (rollout.attempt or 1) .. ": " .. (rollout.outcome or "under way")
if rollout.because ~= nil and rollout.because ~= "" then
  message = message .. ": " .. rollout.because
end
return {status = "Healthy", message = message}
