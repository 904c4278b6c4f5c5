-- What a person may say now in the rollout of a RoutingPolicy. What can have no effect is disabled: it would only
-- leave a RolloutAction whose status says NoEffect.
local status = obj.status or {}
local rollout = status.rollout
local live = rollout ~= nil and rollout.endedAt == nil
local state = status.step ~= nil and status.step.state or ""
local suspended = obj.spec.suspend == true
-- a spec that the operator has not seen yet may end this very rollout
local seen = (tonumber(status.observedGeneration) or -1) >= (tonumber(obj.metadata.generation) or 0)

local reason = ""
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Progressing" then
    reason = condition.reason
  end
end
local failed = {RolledBack = true, ShadowFailed = true, GateFailed = true, Aborted = true, ForcedStrong = true}
local retriable = (live and state == "Inconclusive") or (not live and failed[reason] == true)

local actions = {}
actions["approve"] = {
  ["disabled"] = not (live and seen and state == "AwaitingApproval"),
  ["iconClass"] = "fa fa-fw fa-check",
  ["displayName"] = "Approve the step that waits",
}
actions["abort"] = {
  ["disabled"] = not live,
  ["iconClass"] = "fa fa-fw fa-times-circle",
  ["displayName"] = "Abort: back to the incumbent",
}
actions["retry"] = {
  ["disabled"] = suspended or not (seen and retriable),
  ["iconClass"] = "fa fa-fw fa-redo",
  ["displayName"] = "Retry what failed or was inconclusive",
}
actions["force-strong"] = {
  ["disabled"] = reason == "ForcedStrong",
  ["iconClass"] = "fa fa-fw fa-exclamation-triangle",
  ["displayName"] = "Force all traffic to the last tier",
}
return actions
