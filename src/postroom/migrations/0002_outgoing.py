import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import postroom.workspaces.sealed


def leave_existing_ones_unlimited(apps, schema_editor):
    """A limit that did not exist yesterday holds nobody's mail today."""
    apps.get_model("postroom", "Workspace").objects.update(plan="unlimited")


class Migration(migrations.Migration):
    dependencies = [
        ("postroom", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Allowance",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "unit",
                    models.CharField(
                        choices=[
                            ("quota_day", "Day of the daily limit"),
                            ("minute", "Minute"),
                            ("hour", "Hour"),
                            ("day", "Day"),
                        ],
                        max_length=9,
                    ),
                ),
                ("starts_at", models.DateTimeField()),
                ("used_count", models.PositiveIntegerField(db_default=0, default=0)),
            ],
        ),
        migrations.CreateModel(
            name="DkimKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("selector", models.CharField(max_length=63)),
                (
                    "algorithm",
                    models.CharField(choices=[("rsa", "RSA-2048"), ("ed25519", "Ed25519")], max_length=8),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waits for its DNS record"),
                            ("active", "Signs"),
                            ("retiring", "Signs no more; keep its DNS record"),
                            ("retired", "Retired; its DNS record may go"),
                        ],
                        default="waiting",
                        max_length=8,
                    ),
                ),
                ("private", postroom.workspaces.sealed.SealedField(blank=True, default="")),
                ("public", models.TextField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("activated_at", models.DateTimeField(null=True)),
                ("retires_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="LimitRequest",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("wanted_limit", models.PositiveIntegerField()),
                ("reason", models.TextField(blank=True)),
                ("factors", models.JSONField(default=dict)),
                ("recommended_limit", models.PositiveIntegerField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("decided_at", models.DateTimeField(null=True)),
                ("granted_limit", models.PositiveIntegerField(null=True)),
                ("answer", models.TextField(blank=True)),
            ],
        ),
        migrations.CreateModel(
            name="ScheduledMessage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("subject", models.CharField(blank=True, max_length=998)),
                ("body", models.TextField(blank=True)),
                ("text", models.TextField(blank=True)),
                ("subtype_key", models.CharField(max_length=40)),
                (
                    "stream",
                    models.CharField(
                        blank=True, choices=[("urgent", "Urgent"), ("bulk", "Bulk")], max_length=6
                    ),
                ),
                ("named", models.JSONField(default=list)),
                ("files", models.JSONField(default=list)),
                ("are_outsiders_confirmed", models.BooleanField(default=False)),
                ("is_undo_window", models.BooleanField(default=False)),
                ("post_at", models.DateTimeField()),
                ("send_at", models.DateTimeField(null=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Scheduled"),
                            ("posted", "Posted"),
                            ("failed", "Could not be posted"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="waiting",
                        max_length=9,
                    ),
                ),
                ("failure_text", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.AddField(
            model_name="attempt",
            name="is_unverified",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="email",
            name="quota_day",
            field=models.DateField(null=True),
        ),
        migrations.AddField(
            model_name="email",
            name="redirected_to",
            field=models.CharField(blank=True, db_default="", default="", max_length=254),
        ),
        migrations.AddField(
            model_name="email",
            name="throttled_count",
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="installation",
            name="capture_allowed",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AddField(
            model_name="installation",
            name="capture_mode",
            field=models.CharField(
                choices=[
                    ("all", "Keep everything in"),
                    ("redirect", "Redirect everything to one address"),
                    ("allow", "Let only these addresses through"),
                ],
                db_default="all",
                default="all",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="installation",
            name="capture_to",
            field=models.CharField(blank=True, db_default="", default="", max_length=254),
        ),
        migrations.AddField(
            model_name="lane",
            name="has_foreign_from",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="lane",
            name="via",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="postroom.mailserver",
            ),
        ),
        migrations.AddField(
            model_name="maildomain",
            name="dns_checked_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="maildomain",
            name="dns_findings",
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="announced_size",
            field=models.PositiveBigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="authentication",
            field=models.CharField(
                choices=[
                    ("login", "Username"),
                    ("certificate", "SSL Certificate"),
                    ("xoauth2", "OAuth 2.0 (XOAUTH2)"),
                ],
                default="login",
                max_length=11,
            ),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="client_certificate",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="client_key",
            field=postroom.workspaces.sealed.SealedField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="created_at",
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="down_because",
            field=models.CharField(blank=True, db_default="", default="", max_length=40),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="down_until",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="encryption",
            field=models.CharField(
                choices=[("none", "None"), ("starttls", "TLS (STARTTLS)"), ("tls", "SSL/TLS")],
                default="starttls",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="esp",
            field=models.CharField(blank=True, default="", max_length=40),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="esp_options",
            field=postroom.workspaces.sealed.SealedField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="failing_since",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="failure_count",
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="from_filter",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="host",
            field=models.CharField(blank=True, default="", max_length=253),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="is_active",
            field=models.BooleanField(default=True),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="is_certificate_checked",
            field=models.BooleanField(default=True),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="is_for_campaigns",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="last_failure",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="last_reached_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="limit_per_day",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="limit_per_hour",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="limit_per_minute",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="max_size_megabytes",
            field=models.PositiveSmallIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="oauth",
            field=postroom.workspaces.sealed.SealedField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="owner",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="mail_servers",
                to="postroom.member",
            ),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="password",
            field=postroom.workspaces.sealed.SealedField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="port",
            field=models.PositiveIntegerField(default=25),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="priority",
            field=models.PositiveSmallIntegerField(default=10),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="transport",
            field=models.CharField(
                choices=[("smtp", "SMTP"), ("esp", "Email service provider (its API)")],
                default="smtp",
                max_length=4,
            ),
        ),
        migrations.AddField(
            model_name="mailserver",
            name="user",
            field=models.CharField(blank=True, default="", max_length=254),
        ),
        migrations.AddField(
            model_name="message",
            name="send_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="rendition",
            name="from_addr_spec",
            field=models.CharField(blank=True, db_default="", default="", max_length=254),
        ),
        migrations.AddField(
            model_name="rendition",
            name="return_domain",
            field=models.CharField(blank=True, db_default="", default="", max_length=253),
        ),
        migrations.AddField(
            model_name="workspace",
            name="capture_allowed",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AddField(
            model_name="workspace",
            name="capture_mode",
            field=models.CharField(
                choices=[
                    ("all", "Keep everything in"),
                    ("redirect", "Redirect everything to one address"),
                    ("allow", "Let only these addresses through"),
                ],
                db_default="all",
                default="all",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="workspace",
            name="capture_to",
            field=models.CharField(blank=True, db_default="", default="", max_length=254),
        ),
        migrations.AddField(
            model_name="workspace",
            name="daily_limit",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="workspace",
            name="features",
            field=models.CharField(blank=True, default="", max_length=200),
        ),
        migrations.AddField(
            model_name="workspace",
            name="plan",
            field=models.CharField(
                choices=[
                    ("paid", "Paid"),
                    ("one_app_free", "One app free"),
                    ("trial", "Trial"),
                    ("migrating", "Migrating"),
                    ("unlimited", "No limit"),
                ],
                default="paid",
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="email",
            name="failure_kind",
            field=models.CharField(
                blank=True,
                choices=[
                    ("refused", "Refused"),
                    ("bounced", "Bounced"),
                    ("expired", "Tried too long"),
                    ("uncertain", "May have arrived"),
                    ("invalid", "Not a valid address"),
                    ("daily_limit", "Over the daily limit"),
                ],
                db_default="",
                default="",
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="maildomain",
            name="from_local_part",
            field=models.CharField(default="notifications", max_length=254),
        ),
        migrations.AddIndex(
            model_name="email",
            index=models.Index(
                condition=models.Q(("cancelled_because", "captured")),
                fields=["workspace", "-id"],
                name="email_captured",
            ),
        ),
        migrations.AddIndex(
            model_name="email",
            index=models.Index(
                condition=models.Q(("redirected_to", ""), _negated=True),
                fields=["workspace", "-id"],
                name="email_redirected",
            ),
        ),
        migrations.AddConstraint(
            model_name="mailserver",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_active", True)), fields=("owner",), name="one_personal_server_each"
            ),
        ),
        migrations.AddConstraint(
            model_name="mailserver",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_active", True), ("is_for_campaigns", True)),
                fields=("workspace",),
                name="one_server_for_campaigns",
            ),
        ),
        migrations.AddField(
            model_name="allowance",
            name="server",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="postroom.mailserver",
            ),
        ),
        migrations.AddField(
            model_name="allowance",
            name="workspace",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="postroom.workspace",
            ),
        ),
        migrations.AddField(
            model_name="dkimkey",
            name="mail_domain",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="dkim_keys",
                to="postroom.maildomain",
            ),
        ),
        migrations.AddField(
            model_name="dkimkey",
            name="workspace",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="dkim_keys", to="postroom.workspace"
            ),
        ),
        migrations.AddField(
            model_name="limitrequest",
            name="decided_by",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="postroom.member",
            ),
        ),
        migrations.AddField(
            model_name="limitrequest",
            name="member",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="postroom.member",
            ),
        ),
        migrations.AddField(
            model_name="limitrequest",
            name="workspace",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="limit_requests",
                to="postroom.workspace",
            ),
        ),
        migrations.AddField(
            model_name="scheduledmessage",
            name="author",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="postroom.contact",
            ),
        ),
        migrations.AddField(
            model_name="scheduledmessage",
            name="member",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="scheduled_messages",
                to="postroom.member",
            ),
        ),
        migrations.AddField(
            model_name="scheduledmessage",
            name="message",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="postroom.message",
            ),
        ),
        migrations.AddField(
            model_name="scheduledmessage",
            name="record",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="scheduled_messages",
                to="postroom.record",
            ),
        ),
        migrations.AddField(
            model_name="scheduledmessage",
            name="workspace",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="scheduled_messages",
                to="postroom.workspace",
            ),
        ),
        migrations.AddField(
            model_name="notification",
            name="scheduled",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="postroom.scheduledmessage",
            ),
        ),
        migrations.AddConstraint(
            model_name="allowance",
            constraint=models.UniqueConstraint(
                condition=models.Q(("server", None)),
                fields=("workspace", "unit", "starts_at"),
                name="allowance_once_per_workspace",
            ),
        ),
        migrations.AddConstraint(
            model_name="allowance",
            constraint=models.UniqueConstraint(
                condition=models.Q(("workspace", None)),
                fields=("server", "unit", "starts_at"),
                name="allowance_once_per_server",
            ),
        ),
        migrations.AddConstraint(
            model_name="dkimkey",
            constraint=models.UniqueConstraint(fields=("mail_domain", "selector"), name="dkim_selector_once"),
        ),
        migrations.AddConstraint(
            model_name="limitrequest",
            constraint=models.UniqueConstraint(
                condition=models.Q(("decided_at", None)), fields=("workspace",), name="one_open_limit_request"
            ),
        ),
        migrations.AddIndex(
            model_name="scheduledmessage",
            index=models.Index(
                condition=models.Q(("state", "waiting")), fields=["post_at", "id"], name="scheduled_waiting"
            ),
        ),
        migrations.AddIndex(
            model_name="scheduledmessage",
            index=models.Index(
                condition=models.Q(("state", "waiting")),
                fields=["record", "post_at"],
                name="scheduled_in_record",
            ),
        ),
        migrations.RunPython(leave_existing_ones_unlimited, migrations.RunPython.noop),
    ]
