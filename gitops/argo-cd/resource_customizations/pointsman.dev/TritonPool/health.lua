-- Health of a TritonPool: whether its Tritons run and hold every model, in the words of its own status.
-- A reason that a newer version has is judged by its condition's status alone.

-- Comes right by itself: pods start and load.
local passing = {Starting = true, Scaling = true}

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
for _, kind in ipairs({"Accepted", "Available", "Ready"}) do
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
  return health("Progressing", "The operator has not said yet whether the Tritons are ready")
end
return health("Healthy", ready.message)
