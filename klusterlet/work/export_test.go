package work

// OnStep makes the agent call f when it has come to a step between two writes: see TestCrash.
func (a *Agent) OnStep(f func(step string)) { a.hook = f }
