"""The addresses of all pages."""

from allauth.account import views as account
from django.urls import URLPattern, URLResolver, path, re_path

from postroom.web.pages import (
    actions,
    aliases,
    attachments,
    capturing,
    delivery,
    dkim,
    emails,
    health,
    inbox,
    incoming,
    limits,
    logs,
    metrics,
    people,
    preferences,
    probes,
    records,
    scheduled,
    servers,
    settings,
    target,
    tenants,
    unfollow,
    why,
    writing,
)

_account = [
    path("accounts/login/", account.login, name="account_login"),
    path("accounts/logout/", account.logout, name="account_logout"),
    path("accounts/inactive/", account.account_inactive, name="account_inactive"),
    path("accounts/signup/", account.signup, name="account_signup"),
    path("accounts/reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("accounts/password/change/", account.password_change, name="account_change_password"),
    path("accounts/password/set/", account.password_set, name="account_set_password"),
    path("accounts/password/reset/", account.password_reset, name="account_reset_password"),
    path("accounts/password/reset/done/", account.password_reset_done, name="account_reset_password_done"),
    path(
        "accounts/password/reset/key/done/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    re_path(
        r"^accounts/password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
]

_conversations = [
    path("", inbox.inbox, name="inbox"),
    path("inbox/read", inbox.mark_read, name="mark_read"),
    path("records", records.record_list, name="records"),
    path("records/<int:pk>", records.record, name="record"),
    path("records/<int:pk>/messages", writing.post_message, name="post_message"),
    path("records/<int:pk>/preview", writing.preview_message, name="preview_message"),
    path("records/<int:pk>/followers", records.add_follower, name="add_follower"),
    path(
        "records/<int:pk>/followers/<int:contact_pk>/remove", records.remove_follower, name="remove_follower"
    ),
    path(
        "records/<int:pk>/followers/<int:contact_pk>/subtypes",
        records.choose_subtypes,
        name="choose_subtypes",
    ),
    path("records/<int:pk>/unfollow", unfollow.unfollow, name="unfollow"),
    path("u/<str:token>", unfollow.one_click, name="one_click"),
    path("scheduled/<int:pk>", scheduled.scheduled, name="scheduled"),
    path("scheduled/<int:pk>/move", scheduled.move, name="move_scheduled"),
    path("scheduled/<int:pk>/post", scheduled.post_now, name="post_scheduled"),
    path("scheduled/<int:pk>/cancel", scheduled.cancel, name="cancel_scheduled"),
    path("scheduled/<int:pk>/undo", scheduled.undo, name="undo"),
    path("scheduled/<int:pk>/discard", scheduled.discard, name="discard_scheduled"),
    path("messages/<int:pk>/emails/move", scheduled.move_emails, name="move_emails"),
    path("messages/<int:pk>/emails/send", scheduled.send_emails_now, name="send_emails_now"),
    path("messages/<int:pk>/emails/cancel", scheduled.call_off_emails, name="call_off_emails"),
    path("messages/<int:pk>/delivery", delivery.delivery, name="delivery"),
    path("messages/<int:pk>/icon", delivery.icon, name="delivery_icon"),
    path("messages/<int:pk>/send", delivery.send_and_close, name="send_and_close"),
    path("messages/<int:pk>/ignore", delivery.ignore_all, name="ignore_all"),
    path("attachments/<int:pk>", attachments.attachment, name="attachment"),
    path("d/<str:token>", attachments.linked_file, name="linked_file"),
]

_mail = [
    path("emails", emails.email_list, name="emails"),
    path("emails/retry", emails.retry, name="emails_retry"),
    path("emails/send-now", emails.send_now, name="emails_send_now"),
    path("emails/cancel", emails.cancel, name="emails_cancel"),
    path("incoming", incoming.incoming_log, name="incoming"),
    path("incoming/<int:pk>", incoming.received, name="received"),
    path("why", why.why, name="why"),
    path("target", target.target_list, name="target"),
    path("target/<str:mail_id>", target.target_mail, name="target_mail"),
    path("target/<str:mail_id>/html", target.target_mail_html, name="target_mail_html"),
]

_settings = [
    path("workspaces", preferences.workspaces, name="workspaces"),
    path("preferences", preferences.preferences, name="preferences"),
    path("preferences/server", servers.own_server, name="own_server"),
    path("preferences/language", preferences.language, name="language"),
    path("settings", settings.workspace, name="settings"),
    path("settings/domains", settings.domains, name="domains"),
    path("settings/domains/<int:pk>", settings.domain, name="domain"),
    path("settings/domains/<int:pk>/check", dkim.check, name="check_domain"),
    path("settings/domains/<int:pk>/keys", dkim.make, name="make_dkim"),
    path("settings/domains/<int:pk>/keys/<int:key_pk>/activate", dkim.activate, name="activate_dkim"),
    path("settings/domains/<int:pk>/keys/<int:key_pk>/revoke", dkim.revoke, name="revoke_dkim"),
    path("settings/aliases", aliases.aliases, name="aliases"),
    path("settings/aliases/new", aliases.new_alias, name="new_alias"),
    path("settings/aliases/<int:pk>", aliases.alias, name="alias"),
    path("settings/aliases/<int:pk>/remove", aliases.remove_alias, name="remove_alias"),
    path("settings/members", people.members, name="members"),
    path("settings/members/<int:pk>/reset-link", people.reset_link, name="reset_link"),
    path("settings/members/<int:pk>/deactivate", people.deactivate, name="deactivate"),
    path("settings/keys", people.keys, name="keys"),
    path("settings/keys/<int:pk>/revoke", people.revoke_key, name="revoke_key"),
    path("settings/parameters", settings.parameters_page, name="parameters"),
    path("settings/capture", capturing.capture, name="capture"),
    path("settings/servers", servers.servers, name="servers"),
    path("settings/servers/new", servers.new_server, name="new_server"),
    path("settings/servers/<int:pk>", servers.server, name="server"),
    path("settings/servers/<int:pk>/test", servers.try_server, name="test_server"),
    path("settings/servers/<int:pk>/archive", servers.archive_server, name="archive_server"),
    path("settings/servers/<int:pk>/remove", servers.remove_server, name="remove_server"),
    path("settings/servers/<int:pk>/unarchive", servers.unarchive_server, name="unarchive_server"),
    path("settings/limit", limits.limit, name="limit"),
    path("settings/limit/withdraw", limits.withdraw, name="withdraw_limit"),
]

_technical = [
    path("technical", actions.technical, name="technical"),
    path("technical/logs", logs.logs, name="logs"),
    path("technical/actions", actions.actions, name="actions"),
    path("technical/actions/<int:pk>", actions.action, name="action"),
    path("technical/actions/<int:pk>/run", actions.run_action, name="run_action"),
]

_operator = [
    path("operator/health", health.queue_health, name="operator_health"),
    path("operator/workspaces", tenants.workspaces, name="operator_workspaces"),
    path("operator/workspaces/<slug:slug>", tenants.workspace, name="operator_workspace"),
    path("operator/workspaces/<slug:slug>/decision", tenants.decide, name="operator_decide"),
]

_probes = [
    path("metrics", metrics.metrics, name="metrics"),
    path("livez", probes.livez, name="livez"),
    path("readyz", probes.readyz, name="readyz"),
    path("healthz", probes.readyz, name="healthz"),
    path("health", probes.readyz, name="health"),
]

urlpatterns: list[URLPattern | URLResolver] = [
    *_conversations,
    *_mail,
    *_settings,
    *_technical,
    *_operator,
    *_probes,
    *_account,
]
