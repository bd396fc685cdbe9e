"""Schedules of launch plans: their options, their states, and the launch of a slot.

A slot is a time at which a schedule is due. app/background/scheduler.py decides which slots are due, and calls `fire`.

    options   what the annotations of a launch plan choose
    slots     the following slot, the name of a slot's execution
    fire      decide one slot: launch, skip, or record the failure
    control   pause, resume, launch now, fill in past slots
    states    read schedules with their states
"""
