-- Health of a RoutingGateway: whether its Envoys are as the spec says, in the words of its own status.
-- A reason that a newer version has is judged by its condition's status alone.

-- Comes right by itself: pods start, a certificate is on its way.
local passing = {Progressing = true, NotReady = true, CertificateMissing = true, Reconciling = true}

local function health(status, message)
  return {status = status, message = message}
end

local generation = tonumber(obj.metadata.generation) or 0
local status = obj.status or {}
local observed = tonumber(status.observedGeneration)
if observed == nil or observed < generation then
  return health("Progressing", "The operator has not looked at generation " .. generation .. " of the spec yet")
end

local ready = nil
for _, kind in ipairs({"Accepted", "Certified", "Available", "Ready"}) do
  for _, condition in ipairs(status.conditions or {}) do
    if condition.type == kind and (tonumber(condition.observedGeneration) or 0) >= generation then
      if condition.status ~= "True" then
        local waits = condition.status == "Unknown" or passing[condition.reason]
        return health(
          waits and "Progressing" or "Degraded", kind .. " (" .. condition.reason .. "): " .. condition.message
        )
      end
      if kind == "Ready" then
        ready = condition
      end
    end
  end
end
if ready == nil then
  return health("Progressing", "The operator has not said yet whether the Envoys are ready")
end
return health("Healthy", ready.message)
