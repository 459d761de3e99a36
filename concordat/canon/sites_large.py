"""The large social networks and messengers."""

from __future__ import annotations

from typing import Final

from concordat.canon.platforms import HANDLE, NUMBER, post, rule, site

_FACEBOOK_TABS: Final = (
    "about|photos|photos_albums|friends|videos|reels|reels_tab|map|groups|likes|followers|following|community|reviews|"
    "mentions|events|music|sports|live|timeline|shop|about_\\w+|services|friends_\\w+|photos_by|photos_of|featured"
)
_X_TABS: Final = (
    "with_replies|media|likes|followers|following|verified_followers|highlights|articles|lists|moments|topics|"
    "superfollows|affiliates|photo|header_photo"
)

LARGE_SITES: Final = (
    site(
        "facebook.com",
        "facebook fb messenger facebookmessenger meta фейсбук фб месинджър φέισμπουκ",
        rule(r"(?:profile|home)\.php", "id", query="id"),
        rule(
            r"(?:groups|group)/(?P<v>[\w.\-]+)(?:/(?:about|members|media|files|events|discussion|permalink|posts|user))?",
            "group",
        ),
        rule(r"groups/[\w.\-]+/user/" + NUMBER, "id"),
        rule(r"people/[^/]+/" + NUMBER, "id"),
        rule(r"pages/(?:category/)?(?:[^/]+/)?[^/]*?" + r"(?P<v>\d{6,20})", "id"),
        rule(r"p/[^/]*?-?(?P<v>\d{6,20})", "id"),
        rule(r"(?:marketplace/profile|profile|page|stories|t|user)/" + r"(?P<v>\d{5,20})(?:/[^/]*)?", "id"),
        rule(r"pg/" + HANDLE + r"(?:/[\w]+)?"),
        rule(r"messages/(?:e2ee/)?(?:t|thread|read)/" + NUMBER, "id"),
        rule(r"t/" + HANDLE, host="messenger.com"),
        rule(rf"(?P<v>\d{{5,20}})(?:/(?:{_FACEBOOK_TABS}))?", "id"),
        rule(rf"@?(?P<v>[\w.\-]{{1,80}})(?:/(?:{_FACEBOOK_TABS}))?"),
        hosts="fb.com fb.me m.me messenger.com facebook.net",
        posts=(
            post(r"groups/(?P<g>[\w.\-]+)/(?:permalink|posts)/(?P<p>\w+)", "facebook.com/groups/{g}/posts/{p}"),
            post(r"(?P<a>[\w.\-]+)/posts/(?:[^/]+/)?(?P<p>\w+)", "facebook.com/{a}/posts/{p}"),
            post(r"(?P<a>[\w.\-]+)/videos/(?:[^/]+/)*(?P<p>\d+)", "facebook.com/watch?v={p}"),
            post(r"watch", "facebook.com/watch?v={v}", "v"),
            post(r"(?P<a>[\w.\-]+)/photos/(?:[^/]+/)?(?P<p>\d+)", "facebook.com/photo?fbid={p}"),
            post(r"photo(?:\.php)?", "facebook.com/photo?fbid={fbid}", "fbid"),
            post(
                r"(?:permalink|story)\.php",
                "facebook.com/permalink.php?id={id}&story_fbid={story_fbid}",
                "id",
                "story_fbid",
            ),
            post(r"reel/(?P<p>\d+)", "facebook.com/reel/{p}"),
            post(r"events/(?:[^/]+/)*(?P<p>\d+)", "facebook.com/events/{p}"),
            post(r"marketplace/item/(?P<p>\d+)", "facebook.com/marketplace/item/{p}"),
        ),
        reserved=(
            "sharer sharer.php share.php watch events groups group marketplace gaming pages people photo photo.php "
            "story.php permalink.php stories reel reels profile.php home.php l.php plugins dialog bookmarks messages t "
            "user page profile pg p public media hashtag saved friends notes posts videos photos latest recover"
        ),
        numeric_ids=True,
        dropped=".",
    ),
    site(
        "instagram.com",
        "instagram ig insta инстаграм инстаграмм инста ίνσταγκραμ",
        rule(r"(?:stories|_u|live)/" + HANDLE + r"(?:/\d+)?"),
        rule(r"m/" + HANDLE, host="ig.me"),
        rule(HANDLE + r"(?:/(?:reels|tagged|channel|followers|following|guides))?"),
        hosts="instagr.am ig.me",
        posts=(
            post(r"(?:p|reel|reels|tv)/(?P<p>[\w\-]+)", "instagram.com/p/{p}"),
            post(r"(?P<a>[\w.]+)/(?:p|reel|tv)/(?P<p>[\w\-]+)", "instagram.com/p/{p}"),
        ),
        reserved="p reel reels tv stories direct challenge web graphql audio locations tags _u live",
    ),
    site("threads.com", "threads", rule(r"@" + HANDLE), hosts="threads.net"),
    site(
        "tiktok.com",
        "tiktok тикток",
        rule(r"@?(?P<v>[\w.\-]+)(?:/(?:live|reposts|liked))?"),
        posts=(
            post(r"(?P<p>\w+)", "vm.tiktok.com/{p}", host="vm.tiktok.com"),
            post(r"(?P<p>\w+)", "vt.tiktok.com/{p}", host="vt.tiktok.com"),
            post(r"@(?P<a>[\w.\-]+)/(?:video|photo)/(?P<p>\d+)", "tiktok.com/video/{p}"),
            post(r"(?:v|embed|embed/v2|video)/(?P<p>\d+)(?:\.html)?", "tiktok.com/video/{p}"),
        ),
        reserved="foryou following friends discover tag music live t video v embed upload messages business trending",
    ),
    site(
        "telegram.org",
        "telegram tg telegrammessenger телеграм телеграмм телега тг",
        rule(r"(?:\+|%2b| )(?P<v>[\w\-]{8,})", "invite", exact=True),
        rule(r"joinchat/(?P<v>[\w\-]{8,})", "invite", exact=True),
        rule(r"@id/" + NUMBER, "id"),
        rule(r"c/" + NUMBER, "channel"),
        rule(r"(?:s|boost)/" + HANDLE),
        rule(r"@?(?P<v>[a-z]\w{2,63})"),
        hosts="t.me telegram.me telegram.dog",
        posts=(
            post(r"c/(?P<c>\d+)/(?:\d+/)?(?P<p>\d+)", "t.me/c/{c}/{p}"),
            post(r"(?:s/)?(?P<a>[a-z]\w{2,63})/(?:\d+/)?(?P<p>\d+)", "t.me/{a}/{p}"),
        ),
        reserved=(
            "addstickers addemoji addtheme addlist joinchat proxy socks iv bg s c m k setlanguage confirmphone invoice"
        ),
        numeric_ids=True,
        subdomain="t.me",
        phones=True,
    ),
    site(
        "whatsapp.com",
        "whatsapp wa whatsappbusiness ватсап вотсап уотсап вацап",
        rule(r"(?:invite/)?(?P<v>[\w\-]{16,})", "invite", exact=True, host="chat.whatsapp.com"),
        rule(r"channel/(?P<v>\w{8,})", "channel", exact=True),
        rule(r"(?:message|qr)/(?P<v>\w{6,})", "shortlink", exact=True),
        hosts="wa.me whatsapp.net",
        phones=True,
    ),
    site(
        "viber.com",
        "viber rakutenviber вайбер",
        rule(HANDLE, host="chats.viber.com"),
        rule(r"", "invite", query="g2", exact=True, host="invite.viber.com"),
        phones=True,
    ),
    site("signal.org", "signal signalmessenger", hosts="signal.me signal.group", phones=True),
    site(
        "vk.com",
        "vk vkontakte вк вконтакте",
        rule(r"id" + NUMBER, "id"),
        rule(r"(?:club|public|event)" + NUMBER, "group"),
        rule(r"(?:write|im/convo/|albums|photos|videos|audios|gifts|tag|wall)" + NUMBER, "id"),
        rule(r"im", "id", query="sel"),
        rule(r"friends", "id", query="id"),
        rule(r"(?:albums|photos|videos|audios|wall)-" + NUMBER, "group"),
        rule(r"@?(?P<v>[a-z_][\w.]{1,40})"),
        hosts="vk.ru vkontakte.ru vk.me",
        posts=(
            post(r"(?P<k>wall|photo|video|topic|clip|market|album)(?P<p>-?\d+_\d+).*", "vk.com/{k}{p}"),
            post(r".*", "vk.com/{w}", "w"),
            post(r"(?:.*)", "vk.com/{z}", "z"),
        ),
        reserved="away.php wall feed im video videos music friends groups write video_ext.php join app apps market",
        numeric_ids=True,
    ),
    site(
        "ok.ru",
        "ok okru odnoklassniki одноклассники",
        rule(r"profile/" + NUMBER + r"(?:/\w+)?", "id"),
        rule(r"dk", "id", query="st.friendid"),
        rule(r"group/?" + NUMBER + r"(?:/\w+)?", "group"),
        rule(r"(?:group/)?(?P<v>[a-z][\w.\-]{1,60})"),
        hosts="odnoklassniki.ru",
        posts=(
            post(r"(?P<o>profile|group)/(?P<i>\d+)/(?:statuses|topic)/(?P<p>\d+)", "ok.ru/{o}/{i}/topic/{p}"),
            post(r"video/(?P<p>\d+)", "ok.ru/video/{p}"),
        ),
        reserved="profile group video live music games dk",
        numeric_ids=True,
    ),
    site(
        "wechat.com",
        "wechat weixin 微信",
        rule(r"(?P<v>[\w\-]{8,})", "shortlink", exact=True, host="u.wechat.com"),
        rule(r"@/" + HANDLE),
        hosts="weixin.qq.com weixin.com",
        phones=True,
    ),
    site(
        "weibo.com",
        "weibo sinaweibo 微博",
        rule(r"(?:u|profile)/" + NUMBER, "id"),
        rule(NUMBER, "id"),
        rule(r"n/(?P<v>[^/]+)"),
        rule(r"(?P<v>[a-z][\w\-]{2,40})", "vanity"),
        hosts="weibo.cn",
        posts=(
            post(r"(?P<i>\d{5,})/(?P<p>[a-z0-9]{6,})", "weibo.com/{i}/{p}"),
            post(r"(?:status|detail)/(?P<p>\w+)", "weibo.com/status/{p}"),
        ),
        reserved="u n p tv ttarticle hot newlogin profile",
        numeric_ids=True,
    ),
    site(
        "x.com",
        "x twitter xtwitter twitterx xformerlytwitter туитър твиттер твитер",
        rule(r"i/user/" + NUMBER, "id"),
        rule(r"intent/(?:user|follow)", query="screen_name"),
        rule(r"intent/(?:user|follow)", "id", query="user_id"),
        rule(r"i/communities/" + NUMBER, "group"),
        rule(rf"@?(?P<v>\w{{1,20}})(?:/(?:{_X_TABS}))?"),
        hosts="twitter.com",
        posts=(
            post(r"i/(?:web/)?status(?:es)?/(?P<p>\d+).*", "x.com/i/status/{p}"),
            post(r"(?P<a>\w{1,20})/status(?:es)?/(?P<p>\d+)(?:/.*)?", "x.com/i/status/{p}"),
        ),
        reserved="i intent messages compose hashtag who_to_follow share",
    ),
    site(
        "youtube.com",
        "youtube yt ютуб ютюб ютъб",
        rule(r"channel/(?P<v>UC[\w\-]{22})(?:/\w+)?", "channel", exact=True),
        rule(r"channel/(?P<v>UC[\w\-]{22})(?:/.*)?", "channel", exact=True, host="studio.youtube.com"),
        rule(r"channel/(?P<v>UC[\w\-]{22})(?:/.*)?", "channel", exact=True, host="music.youtube.com"),
        rule(r"@(?P<v>[^/]+)(?:/\w+)?"),
        rule(r"user/(?P<v>[\w.\-]+)(?:/\w+)?", "user"),
        rule(r"c/(?P<v>[^/]+)(?:/\w+)?", "custom"),
        rule(r"(?P<v>[\w.\-]{3,60})", "custom"),
        hosts="youtu.be youtube-nocookie.com",
        posts=(
            post(r"(?P<p>[\w\-]{11})", "youtube.com/watch?v={p}", host="youtu.be"),
            post(r"watch", "youtube.com/watch?v={v}", "v"),
            post(r"(?:shorts|live|embed|v)/(?P<p>[\w\-]{11})", "youtube.com/watch?v={p}"),
            post(r"playlist", "youtube.com/playlist?list={list}", "list"),
        ),
        reserved="watch playlist results shorts live embed channel user c v post premium kids gaming trending clip",
    ),
)
