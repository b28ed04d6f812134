-- Health of tsutsumi.dev/v1alpha1 ResolverPolicy for Argo CD, from status.observedGeneration and status.conditions.
local health = { status = "Progressing", message = "tsutsumi has not looked at this generation yet" }
local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is(kind, wanted)
  return conditions[kind] ~= nil and conditions[kind].status == wanted
end

if is("Stalled", "True") then
  return { status = "Degraded", message = conditions.Stalled.reason .. ": " .. conditions.Stalled.message }
end
if is("Accepted", "False") and conditions.Accepted.reason == "Invalid" then
  return { status = "Degraded", message = "Invalid: " .. conditions.Accepted.message }
end

local ready = conditions.Ready
if ready == nil then
  return health
end
health.message = ready.reason .. ": " .. ready.message
if ready.status == "True" then
  health.status = "Healthy"
elseif ready.reason == "ControlsFailed" or ready.reason == "Undetermined" then
  health.status = "Degraded"
end
return health
