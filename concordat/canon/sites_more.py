"""Further platforms: smaller networks, dating sites, link pages."""

from __future__ import annotations

from typing import Final

from concordat.canon.platforms import HANDLE, NUMBER, post, rule, site

MORE_SITES: Final = (
    site(
        "snapchat.com", "snapchat snap снапчат", rule(r"(?:add/|@|p/)" + HANDLE), hosts="snap.com", reserved="add p t"
    ),
    site(
        "onlyfans.com",
        "onlyfans of",
        rule(r"(?P<v>[\w.\-]{3,60})(?:/(?:media|photos|videos|likes))?"),
        posts=(post(r"(?P<p>\d+)/(?P<a>[\w.\-]+)", "onlyfans.com/{p}/{a}"),),
        reserved="my posts help terms",
    ),
    site("fansly.com", "fansly", rule(HANDLE + r"(?:/posts)?"), reserved="post explore"),
    site(
        "linkedin.com",
        "linkedin",
        rule(r"(?:mwlite/|m/)?(?:in|pub)/(?P<v>[^/]+)(?:/.*)?"),
        rule(r"(?:company|school|showcase)/(?P<v>[^/]+)(?:/.*)?", "page"),
        rule(r"groups/" + NUMBER, "group"),
        posts=(post(r"jobs/view/(?:[^/]*-)?(?P<p>\d+)", "linkedin.com/jobs/view/{p}"),),
    ),
    site(
        "reddit.com",
        "reddit",
        rule(r"(?:user|u)/" + HANDLE + r"(?:/\w+)?"),
        rule(r"r/(?P<v>\w+)", "group"),
        posts=(post(r"r/(?P<g>\w+)/comments/(?P<p>\w+)(?:/.*)?", "reddit.com/comments/{p}"),),
    ),
    site(
        "discord.com",
        "discord",
        rule(r"(?:invite/)?(?P<v>[\w\-]{2,32})", "invite", exact=True, host="discord.gg"),
        rule(r"invite/(?P<v>[\w\-]{2,32})", "invite", exact=True),
        rule(r"users/" + NUMBER, "id"),
        hosts="discord.gg discordapp.com",
        numeric_ids=True,
    ),
    # The Chinese service of TikTok's owner, with members of its own.
    site("douyin.com", "douyin 抖音", rule(r"user/(?P<v>[\w\-]{10,})", "shortlink", exact=True), hosts="iesdouyin.com"),
    site("twitch.tv", "twitch", rule(r"(?P<v>\w{3,25})(?:/(?:videos|about|clips))?"), reserved="videos p"),
    site("tumblr.com", "tumblr", rule(r"@?(?P<v>[\w\-]{1,32})"), subdomain="tumblr.com", reserved="tagged dashboard"),
    site(
        "pinterest.com",
        "pinterest",
        rule(HANDLE + r"(?:/_(?:created|saved))?"),
        hosts=(
            "pinterest.de pinterest.fr pinterest.it pinterest.es pinterest.co.uk pinterest.ch pinterest.at "
            "pinterest.se pinterest.pt pinterest.ie pinterest.dk pinterest.nz pinterest.ca pinterest.com.au "
            "pinterest.com.mx pinterest.jp pinterest.ph pinterest.cl pinterest.ru"
        ),
        reserved="pin ideas",
    ),
    site("skype.com", "skype скайп"),
    site(
        "line.me",
        "line",
        rule(r"(?:r/)?ti/p/~(?P<v>[\w.\-@]+)"),
        rule(r"(?:r/)?ti/p/(?P<v>[\w%\-@]+)", "shortlink", exact=True),
        rule(r"(?:r/)?ti/g2?/(?P<v>[\w\-]+)", "invite", exact=True),
        phones=True,
    ),
    site("kik.com", "kik kikmessenger", rule(r"(?:u/)?" + HANDLE, host="kik.me"), hosts="kik.me"),
    site("zalo.me", "zalo", rule(r"g/(?P<v>\w+)", "invite", exact=True), phones=True),
    site("imo.im", "imo", phones=True),
    site("threema.id", "threema", rule(r"(?P<v>[*\w]{8})"), hosts="threema.ch"),
    site(
        "badoo.com",
        "badoo баду",
        rule(r"(?:[a-z]{2}(?:-[a-z]{2})?/)?(?:profile|user)/0?" + NUMBER, "id"),
        rule(r"(?:[a-z]{2}(?:-[a-z]{2})?/)?(?:profile/)?@?(?P<v>[a-z][\w.\-]{2,60})"),
        numeric_ids=True,
        reserved="dating encounters signin people-nearby",
    ),
    site("tinder.com", "tinder тиндер", rule(r"@" + HANDLE), hosts="gotinder.com"),
    site("okcupid.com", "okcupid", rule(r"profile/(?P<v>[\w\-]+)(?:/\w+)?")),
    site("mamba.ru", "mamba", rule(r"(?:profile/)?(?P<v>[a-z][\w.\-]{2,40})"), hosts="mamba.me", reserved="profile"),
    site("happn.com", "happn"),
    site("bumble.com", "bumble"),
    site("grindr.com", "grindr"),
    site("linktr.ee", "linktree", rule(HANDLE)),
    site(
        "patreon.com",
        "patreon",
        rule(r"(?:c/)?" + HANDLE + r"(?:/(?:posts|about|membership))?"),
        reserved="posts c user",
    ),
)
