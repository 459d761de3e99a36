"""What people and files call the kinds: other words in English, and in the languages of the parties.

Names are written without case, spaces, hyphens and accents, as `kind_key` folds them.
"""

from __future__ import annotations

import re
import unicodedata
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


def kind_key(name: str) -> str:
    """Fold the name of a kind: no case, spaces, marks or accents."""
    apart = unicodedata.normalize("NFKD", re.sub(r"[\s_.\-/'\u2019:()]+", "", name).casefold())
    return "".join(char for char in apart if not unicodedata.combining(char))


# By value of the kind; the kind's own value is a name as well.
NAMES_OF_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "phone": """
            tel telephone mobile mobilephone mobilenumber mobileno cell cellphone gsm gsmnumber msisdn phonenumber
            phoneno number handy landline telefon telefoon telefono telefonnummer telefoonnummer gsmnummer handynummer
            mobilnummer mobiltelefon numerodetelephone numerotelephone numerodetelefono numeroditelefono telefone
            telemovel
            numerodetelefone cellulare movil numertelefonu nrtelefonu numardetelefon numartelefon nrdetelefon
            telefonszam telefonnicislo telefonnecislo telefonnummeret mobilnumer puhelin puhelinnumero brojtelefona
            telefonskastevilka telefonas telefononumeris talrunis telefons telefoninumber mobitel
            τηλεφωνο αριθμοστηλεφωνου κινητο телефон телефонен телефоненномер номертелефона номертелефону мобилен
        """,
        "fax": "facsimile telefax faxnumber faxnummer faks телефакс факс φαξ",
        "sms": "textmessage смс",
        "whatsapp": "wa whatsappnumber whatsappnummer",
        "viber": "vibernumber",
        "signal": "signalnumber",
        "email": """
            mail emailaddress mailaddress emailsrc emaildst emailadres emailadresse mailadresse adresseemail adressemail
            adresseelectronique courriel correo correoelectronico direcciondecorreo posta postaelettronica
            indirizzoemail
            correioeletronico correioelectronico adresademail adresadeemail adresaemail adresemail adresamail emailcim
            epostadress
            epost epostadresse sahkoposti sahkopostiosoite elpastas epasts epastaadrese eposta emailova emailovaadresa
            ηλεκτρονικοταχυδρομειο имеил имеиладрес електроннапоща електроннаадреса електроннапошта
            адресэлектроннойпочты электроннаяпочта почта мейл меил
        """,
        "telegram": "tg telegramhandle telegramuser",
        "username": """
            user nick nickname handle login loginname screenname alias pseudonym gebruikersnaam gebruiker benutzername
            nutzername spitzname pseudo pseudonyme nomdutilisateur usuario nombredeusuario apodo nomeutente utente
            nomedeutilizador utilizador numeutilizator numedeutilizator utilizator porecla nazwauzytkownika uzytkownik
            uzivatelskejmeno uzivatel uzivatelskemeno felhasznalonev anvandarnamn brugernavn brukernavn kayttajatunnus
            kayttajanimi korisnickoime uporabniskoime naudotojovardas lietotajvards kasutajanimi ονομαχρηστη
            потребител потребителскоиме ник никнеим имяпользователя логин
        """,
        "user_id": "uid id accountid profileid kontoid",
        "account": """
            useraccount socialaccount socialmedia socialmediaaccount konto compte cuenta conta cont ucet fiok tili racun
            paskyra konts λογαριασμος акаунт аккаунт профилвмрежата
        """,
        "profile": "profileurl socialprofile profil profiel perfil profilo profiili profilis προφιλ профил профиль",
        "group": """
            facebookgroup community groep gruppe groupe grupo gruppo grup grupa skupina csoport grupp
            ryhma група группа ομαδα
        """,
        "page": "facebookpage fanpage seite pagina stranica страница σελιδα",
        "channel": "telegramchannel kanaal kanal canal canale kanava канал καναλι",
        "invite": """
            invitelink invitation grouplink whatsappgroup telegraminvite uitnodiging einladung покана приглашение
        """,
        "facebook": "fb meta messenger фейсбук феисбук",
        "instagram": "ig insta инстаграм",
        "tiktok": "тикток",
        "vk": "vkontakte вк вконтакте",
        "ok": "odnoklassniki okru одноклассники",
        "wechat": "weixin 微信",
        "weibo": "sinaweibo 微博",
        "x": "twitter туитър твиттер",
        "youtube": "yt",
        "snapchat": "snap",
        "onlyfans": "of",
        "platform": """
            service socialnetwork socialmedium datingsite datingplatform reviewforum plattform plateforme plataforma
            piattaforma platforma platvorm alusta platformas πλατφορμα платформа
        """,
        "website": """
            site web webpage homepage webseite internetseite siteweb siteinternet sitioweb paginaweb sito sitoweb strona
            stronainternetowa strana webovastranka webhely weboldal honlap webbplats webbsida hjemmeside nettside
            verkkosivu sivusto webstranica spletnastran svetaine vietne majaslapa veebileht ιστοσελιδα ιστοτοπος
            сайт саит уебсайт уебсаит вебсайт вебсаит
        """,
        "domain": "domainname host hostname onion fqdn domein domaine dominio domeniu domena домейн домеин домен",
        "forum": "webforum board marketplace форум φορουμ",
        "url": "link uri weblink lien enlace collegamento odkaz adres адрес ссылка линк συνδεσμος",
        "advert": """
            ad advertisement listing advertentie anzeige inserat annonce anuncio annuncio anunt ogloszenie inzerat
            hirdetes
            annons ilmoitus oglas skelbimas sludinajums kuulutus αγγελια обява объявление
        """,
        "post": "posting message",
        "app": """
            application mobileapp package apppackage androidapp iosapp applicatie anwendung aplicacion applicazione
            приложение
        """,
        "iban": "bankaccount bank bankrekening rekeningnummer bankkonto kontonummer",
    }
)
