package health

// hasTrue is the expression that a condition of the object has the status True.
func hasTrue(condition string) string { return has(condition, "True") }

// has is the expression that a condition of the object has the status. It is false where there are no conditions.
func has(condition, status string) string {
	return `(hasConditions(object.?status.orValue({})) && object.status.conditions.exists(c, c.?type.orValue("") == "` +
		condition + `" && c.?status.orValue("") == "` + status + `"))`
}
