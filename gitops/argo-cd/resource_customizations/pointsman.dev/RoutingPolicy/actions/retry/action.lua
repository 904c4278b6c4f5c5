-- Tries the revision that failed once more, or gives an inconclusive step its time again.
-- The operator does what the RolloutAction created here says; the policy itself is not changed.
--
-- requestedBy must be the identity that creates the object, and that is Argo CD's own: its server creates it, whoever
-- pressed the button. A script cannot know the user. Argo CD's event ResourceActionRan on the Application has the name.
local params = actionParams or {}
local requestedBy = params.requestedBy or "system:serviceaccount:argocd:argocd-server"
local status = obj.status or {}
local rollout, failed = status.rollout, (status.failedRevisions or {})[1]
local about = nil
if rollout ~= nil and rollout.endedAt == nil then
  about = {revision = rollout.candidate, attempt = rollout.attempt or 1, step = status.step and status.step.name}
elseif failed ~= nil then
  about = {revision = failed.revision, attempt = failed.attempts or 1}
else
  error("nothing has failed")
end

local action = {
  apiVersion = obj.apiVersion,
  kind = "RolloutAction",
  metadata = {
    generateName = obj.metadata.name .. "-retry-",
    namespace = obj.metadata.namespace,
    -- goes with the policy, and is shown beneath it; not tracked by Argo CD, so neither pruned nor out of sync
    ownerReferences = {
      {apiVersion = obj.apiVersion, kind = obj.kind, name = obj.metadata.name, uid = obj.metadata.uid},
    },
  },
  spec = {
    policyRef = {name = obj.metadata.name},
    action = "Retry",
    revision = about.revision,
    attempt = about.attempt,
    step = about.step,
    reason = params.reason or "through Argo CD, whose event ResourceActionRan on the Application names the user",
    requestedBy = requestedBy,
  },
}
return {{operation = "create", resource = action}}
