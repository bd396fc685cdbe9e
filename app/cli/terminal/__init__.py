"""Commands that work with executions from a terminal. They use public routes of the API alone, but for `status`."""
