"""Notifications: targets of the outbox that send the messages about the end of executions.

app/services/notifications.py writes the messages in the transaction of the event.

notice, templates: what a message mentions, and its texts.
mail: the target `mail`; smtp, sendgrid and ses send an e-mail.
webhooks: the target `webhook`: Slack, PagerDuty, and signed webhooks.
queue: the target `queue`, which publishes e-mails at a topic, and the reader of the queue behind such a topic.
rates: the limit of messages to one recipient.

docs/notifications.md describes them for users.
"""
