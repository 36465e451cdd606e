import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


def let_bulk_mail_wait_from_now_on(apps, schema_editor):
    """What is in the queue leaves as it did; what is posted from now on waits for its scheduled action."""
    now = django.db.models.functions.Now()
    apps.get_model("postroom", "Lane").objects.filter(stream="bulk").update(released_until=now)


class Migration(migrations.Migration):
    dependencies = [
        ("postroom", "0002_outgoing"),
    ]

    operations = [
        migrations.CreateModel(
            name="Counter",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("series", models.CharField(max_length=250, unique=True)),
                ("value", models.FloatField(db_default=0.0, default=0.0)),
            ],
        ),
        migrations.CreateModel(
            name="Sample",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("name", models.CharField(max_length=40)),
                ("label", models.CharField(blank=True, default="", max_length=100)),
                ("value", models.FloatField(default=0.0)),
            ],
        ),
        migrations.CreateModel(
            name="ScheduledAction",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=40)),
                ("is_active", models.BooleanField(default=True)),
                ("interval", models.PositiveSmallIntegerField()),
                (
                    "unit",
                    models.CharField(
                        choices=[
                            ("minutes", "minutes"),
                            ("hours", "hours"),
                            ("days", "days"),
                            ("weeks", "weeks"),
                            ("months", "months"),
                        ],
                        max_length=7,
                    ),
                ),
                ("time_zone", models.CharField(blank=True, default="", max_length=64)),
                ("next_call_at", models.DateTimeField()),
                ("anchor_at", models.DateTimeField(null=True)),
                ("priority", models.PositiveSmallIntegerField(default=5)),
                ("lease", models.CharField(blank=True, default="", max_length=32)),
                ("leased_until", models.DateTimeField(null=True)),
                ("began_at", models.DateTimeField(null=True)),
                ("is_unfinished", models.BooleanField(default=False)),
                ("timeout_count", models.PositiveSmallIntegerField(default=0)),
                ("failure_count", models.PositiveSmallIntegerField(default=0)),
                ("failing_since", models.DateTimeField(null=True)),
                ("deactivated_at", models.DateTimeField(null=True)),
                ("last_run_at", models.DateTimeField(null=True)),
                ("last_seconds", models.FloatField(null=True)),
                (
                    "last_result",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("done", "Done"),
                            ("unfinished", "Goes on"),
                            ("failed", "Failed"),
                            ("lost", "Never came back"),
                        ],
                        default="",
                        max_length=10,
                    ),
                ),
                ("last_counts", models.JSONField(default=dict)),
                ("last_error", models.TextField(blank=True, default="")),
                ("last_success_at", models.DateTimeField(null=True)),
                ("positions", models.JSONField(default=dict)),
            ],
        ),
        migrations.CreateModel(
            name="Station",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=32, unique=True)),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("up", "Everything"),
                            ("web", "Pages and API"),
                            ("smtp", "Incoming mail"),
                            ("worker", "Engine"),
                        ],
                        max_length=6,
                    ),
                ),
                ("host", models.CharField(max_length=120)),
                ("pid", models.PositiveIntegerField()),
                ("instance", models.CharField(blank=True, default="", max_length=64)),
                ("version", models.CharField(blank=True, default="", max_length=40)),
                ("is_draining", models.BooleanField(default=False)),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="Trigger",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("is_by_hand", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="UnusedFile",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=200, unique=True)),
                ("noted_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="lane",
            name="released_until",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="lane",
            name="slow_told_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="workspace",
            name="time_zone",
            field=models.CharField(db_default="UTC", default="UTC", max_length=64),
        ),
        migrations.AddIndex(
            model_name="attachment",
            index=models.Index(fields=["workspace", "digest"], name="attachment_by_digest"),
        ),
        migrations.AddIndex(
            model_name="rendition",
            index=models.Index(
                condition=models.Q(("layout", "secret")), fields=["id"], name="rendition_secret"
            ),
        ),
        migrations.AddIndex(
            model_name="spooledmail",
            index=models.Index(fields=["workspace", "digest"], name="spooled_by_digest"),
        ),
        migrations.AddIndex(
            model_name="sample",
            index=models.Index(fields=["at"], name="sample_at"),
        ),
        migrations.AddConstraint(
            model_name="sample",
            constraint=models.UniqueConstraint(fields=("name", "label", "at"), name="sample_once"),
        ),
        migrations.AddField(
            model_name="scheduledaction",
            name="workspace",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="scheduled_actions",
                to="postroom.workspace",
            ),
        ),
        migrations.AddField(
            model_name="trigger",
            name="action",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="triggers",
                to="postroom.scheduledaction",
            ),
        ),
        migrations.AddField(
            model_name="unusedfile",
            name="workspace",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="postroom.workspace"
            ),
        ),
        migrations.AddIndex(
            model_name="scheduledaction",
            index=models.Index(
                condition=models.Q(("is_active", True)), fields=["next_call_at"], name="action_due"
            ),
        ),
        migrations.AddIndex(
            model_name="scheduledaction",
            index=models.Index(
                condition=models.Q(("lease", ""), _negated=True),
                fields=["leased_until"],
                name="action_leased",
            ),
        ),
        migrations.AddIndex(
            model_name="scheduledaction",
            index=models.Index(
                condition=models.Q(("is_unfinished", True)), fields=["last_run_at"], name="action_goes_on"
            ),
        ),
        migrations.AddConstraint(
            model_name="scheduledaction",
            constraint=models.UniqueConstraint(fields=("workspace", "key"), name="action_once"),
        ),
        migrations.AddIndex(
            model_name="trigger",
            index=models.Index(fields=["at"], name="trigger_due"),
        ),
        migrations.RunPython(let_bulk_mail_wait_from_now_on, migrations.RunPython.noop),
    ]
