-- Health of a RoutingPolicy: where the rollout of the spec in Git is, in the words of the policy's own status.
-- Every reason of Accepted, ClassifierReady, Programmed and Progressing is in a table below. One that a newer
-- version has is judged by its condition's status alone.

-- The rollout is over, and what Git asks for is not what serves.
local ended = {
  RolledBack = "was rolled back",
  ShadowFailed = "failed in shadow",
  GateFailed = "failed the gate",
  Aborted = "was aborted",
  ForcedStrong = "was replaced by the last tier",
}
-- Somebody has to say something, or set something.
local waits = {AwaitingApproval = true, Inconclusive = true, Suspended = true}
-- It goes on by itself.
local runs = {
  WaitingForClassifier = true, WaitingForEnvoy = true, Gating = true, MeasuringNoise = true, Shadowing = true,
  Canary = true, EvidenceMissing = true,
}
-- Nothing is left to do.
local done = {Promoted = true, Observing = true}
-- Nothing of this comes right by waiting, or traffic is not where it shall be.
local broken = {
  Progressing = {AlwaysStrong = true, NotAccepted = true},
  ClassifierReady = {
    BundleNotFound = true, DigestMismatch = true, BundleRejected = true, BundleMismatch = true,
    TritonUnreachable = true, OutOfMemory = true, PoolNotFound = true, PoolNotAllowed = true,
    Unschedulable = true, ImagePullFailed = true, PodCrashLooping = true, FileArtifactsNotAllowed = true,
  },
  Programmed = {Quarantined = true, NoEnvoy = true, RevisionNotFound = true, NotAccepted = true},
}
-- Comes right by itself.
local passing = {
  ClassifierReady = {Loading = true, FetchFailed = true, Reloading = true, PoolStarting = true},
  Programmed = {Pending = true, XdsUnreachable = true},
}

local function health(status, message)
  return {status = status, message = message}
end

local generation = tonumber(obj.metadata.generation) or 0
local status = obj.status or {}
local observed = tonumber(status.observedGeneration)
if observed == nil or observed < 0 then -- a CRD's default: no status yet
  return health("Progressing", "The operator has not looked at it yet")
end
if observed < generation then
  return health(
    "Progressing",
    "The operator has not looked at generation " .. generation .. " of the spec yet; it has seen " .. observed
  )
end

local found = {}
for _, condition in ipairs(status.conditions or {}) do
  -- what is said of an older spec is not said of this one
  if (tonumber(condition.observedGeneration) or 0) >= generation then
    found[condition.type] = condition
  end
end

local accepted, progressing, ready = found.Accepted, found.Progressing, found.Ready
if accepted ~= nil and accepted.status == "False" then
  return health("Degraded", "Not accepted (" .. accepted.reason .. "): " .. accepted.message)
end
if progressing == nil or ready == nil then
  return health("Progressing", "The operator has not said yet how the rollout of this spec goes")
end

if ended[progressing.reason] ~= nil then
  local failed = (status.failedRevisions or {})[1]
  local named = failed ~= nil and failed.revision or "a revision"
  return health(
    "Degraded",
    "The spec in Git still names " .. named .. ", which " .. ended[progressing.reason] .. ": " .. progressing.message
  )
end
for _, kind in ipairs({"Progressing", "ClassifierReady", "Programmed"}) do
  local condition = found[kind]
  if condition ~= nil and broken[kind][condition.reason] then
    return health("Degraded", kind .. " (" .. condition.reason .. "): " .. condition.message)
  end
end
if waits[progressing.reason] then
  return health("Suspended", progressing.message)
end
if runs[progressing.reason] then
  return health("Progressing", progressing.message)
end
if not done[progressing.reason] and progressing.status ~= "True" then
  local unknown = progressing.status == "Unknown" and "Progressing" or "Degraded"
  return health(unknown, progressing.message)
end

for _, kind in ipairs({"ClassifierReady", "Programmed"}) do
  local condition = found[kind]
  if condition ~= nil and condition.status ~= "True" then
    local new = not passing[kind][condition.reason] and condition.status == "False"
    return health(new and "Degraded" or "Progressing", kind .. " (" .. condition.reason .. "): " .. condition.message)
  end
end
if ready.status ~= "True" then
  return health("Progressing", ready.message)
end
return health("Healthy", progressing.message)
