package work

// OnStep makes the agent call f at its steps: "recorded" after a rank is in the record and before it is applied, "applied"
// after everything is applied and before that is written down.
func (a *Agent) OnStep(f func(step string)) { a.hook = f }
