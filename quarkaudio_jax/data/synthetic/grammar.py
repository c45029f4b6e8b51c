"""Enumerated sentences in several languages: every number below `size` gives another sentence.

A language is a sequence of slots, a sentence one phrase of each. A bijection scatters numbers over all combinations, so
that neighbors have little in common.
"""

import dataclasses
import math

Slots = tuple[tuple[str, ...], ...]

_SCATTER = 15_485_863  # a prime that divides no grammar's size


def _slots(*rows: str) -> Slots:
    """Parses slots with phrases separated by |; an empty phrase leaves its slot out."""
    return tuple(tuple(phrase.strip() for phrase in row.split("|")) for row in rows)


GRAMMARS: dict[str, Slots] = {
    "en": _slots(
        """the teacher|my neighbor|a young doctor|the old captain|our guide|the new student|her brother|the baker
        |an engineer|the tall girl|his grandmother|the driver|a curious visitor|the violin player|my best friend
        |the night watchman|an honest farmer|the mayor|one of the children|the woman next door""",
        """found|carried|remembered|painted|borrowed|described|repaired|forgot|opened|measured|followed|sold|noticed
        |collected|cleaned|photographed|ordered|hid|mentioned|wanted""",
        """a small wooden box|the yellow bicycle|seven letters|the broken clock|a map of the island
        |the kitchen window|three silver coins|an empty bottle|the longest song|a quiet river|the village church
        |some warm bread|the red umbrella|a box of matches|the green door|two heavy suitcases|an old photograph
        |the wrong key|a bowl of cherries|the narrow staircase|a piece of chocolate|the first chapter
        |eleven paper boats|a pair of gloves""",
        """near the harbour|behind the station|in the garden|on the second floor|at the market|under the bridge
        |by the fire|along the coast|outside the museum|across the valley|beside the lake|in front of the bakery
        |at the end of the street|between the houses|in the back room|on the way home""",
        """early this morning|last winter|after the concert|before sunrise|on Thursday|during the storm|a week ago
        |at half past nine|when it was raining|as usual|in the middle of the night|for the second time
        |without a word|on a cold evening|shortly after lunch|at the very last minute""",
        """|and nobody noticed|but it was too late|because the bus was delayed|and everyone laughed
        |although it was forbidden|so we waited|and then it began to snow|which surprised us all
        |but no one believed it|and the dog barked|as if nothing had happened""",
    ),
    "de": _slots(
        """der Lehrer|meine Nachbarin|ein junger Arzt|der alte Kapitän|unsere Führerin|die neue Schülerin|ihr Bruder
        |der Bäcker|eine Ingenieurin|das große Mädchen|seine Großmutter|der Fahrer|ein neugieriger Gast
        |die Geigerin|mein bester Freund|der Wächter|ein ehrlicher Bauer|die Bürgermeisterin""",
        "hat",
        """heute Morgen|letzten Winter|nach dem Konzert|vor Sonnenaufgang|am Donnerstag|während des Sturms
        |vor einer Woche|um halb zehn|bei Regen|wie immer|mitten in der Nacht|zum zweiten Mal|ohne ein Wort""",
        """am Hafen|hinter dem Bahnhof|im Garten|im zweiten Stock|auf dem Markt|unter der Brücke|am Feuer
        |an der Küste|vor dem Museum|im Tal|neben dem See|auf dem Heimweg|zwischen den Häusern""",
        """eine kleine Kiste|das gelbe Fahrrad|sieben Briefe|die kaputte Uhr|eine Karte der Insel
        |das Küchenfenster|drei Silbermünzen|eine leere Flasche|das längste Lied|die Dorfkirche|warmes Brot
        |den roten Schirm|eine Schachtel Streichhölzer|die grüne Tür|zwei schwere Koffer|ein altes Foto
        |den falschen Schlüssel|eine Schale Kirschen|die enge Treppe|ein Stück Schokolade""",
        """gefunden|getragen|gemalt|beschrieben|repariert|vergessen|gemessen|verkauft|bemerkt|gesucht|gereinigt
        |fotografiert|bestellt|versteckt|erwähnt|gesehen""",
        """|und niemand hat es gemerkt|aber es war zu spät|und alle haben gelacht|obwohl es verboten war
        |dann fing es an zu schneien|aber keiner hat es geglaubt|und der Hund hat gebellt|als wäre nichts gewesen""",
    ),
    "fr": _slots(
        """le professeur|ma voisine|un jeune médecin|le vieux capitaine|notre guide|la nouvelle élève|son frère
        |le boulanger|une ingénieure|la grande fille|sa grand-mère|le chauffeur|un visiteur curieux|la violoniste
        |mon meilleur ami|le gardien|un paysan honnête|la mairesse""",
        """a trouvé|a porté|a peint|a décrit|a réparé|a oublié|a ouvert|a mesuré|a vendu|a remarqué|a cherché
        |a nettoyé|a photographié|a commandé|a caché|a vu""",
        """une petite boîte|le vélo jaune|sept lettres|l'horloge cassée|une carte de l'île|la fenêtre de la cuisine
        |trois pièces d'argent|une bouteille vide|la plus longue chanson|l'église du village|du pain chaud
        |le parapluie rouge|une boîte d'allumettes|la porte verte|deux valises lourdes|une vieille photo
        |la mauvaise clé|un bol de cerises|l'escalier étroit|un morceau de chocolat""",
        """près du port|derrière la gare|dans le jardin|au deuxième étage|au marché|sous le pont|près du feu
        |sur la côte|devant le musée|dans la vallée|au bord du lac|devant la boulangerie|au bout de la rue""",
        """ce matin|l'hiver dernier|après le concert|avant l'aube|jeudi|pendant l'orage|il y a une semaine
        |à neuf heures et demie|sous la pluie|comme d'habitude|au milieu de la nuit|pour la deuxième fois
        |sans un mot|après le déjeuner""",
        """|et personne ne l'a remarqué|mais il était trop tard|et tout le monde a ri|bien que ce soit interdit
        |puis il a commencé à neiger|mais personne ne l'a cru|et le chien a aboyé|comme si de rien n'était""",
    ),
    "es": _slots(
        """el profesor|mi vecina|un joven médico|el viejo capitán|nuestra guía|la nueva alumna|su hermano
        |el panadero|una ingeniera|la chica alta|su abuela|el conductor|un visitante curioso|la violinista
        |mi mejor amigo|el guardia|un campesino honesto|la alcaldesa""",
        """encontró|llevó|recordó|pintó|describió|reparó|olvidó|abrió|midió|vendió|notó|buscó|limpió|fotografió
        |pidió|escondió""",
        """una caja pequeña|la bicicleta amarilla|siete cartas|el reloj roto|un mapa de la isla
        |la ventana de la cocina|tres monedas de plata|una botella vacía|la canción más larga|la iglesia del pueblo
        |un poco de pan|el paraguas rojo|una caja de cerillas|la puerta verde|dos maletas pesadas|una foto antigua
        |la llave equivocada|un plato de cerezas|la escalera estrecha|un trozo de chocolate""",
        """cerca del puerto|detrás de la estación|en el jardín|en el segundo piso|en el mercado|bajo el puente
        |junto al fuego|en la costa|frente al museo|en el valle|al lado del lago|al final de la calle
        |de camino a casa""",
        """esta mañana|el invierno pasado|después del concierto|antes del amanecer|el jueves|durante la tormenta
        |hace una semana|a las nueve y media|bajo la lluvia|como siempre|en mitad de la noche|por segunda vez
        |sin decir nada|después de comer""",
        """|y nadie lo notó|pero ya era tarde|y todos se rieron|aunque estaba prohibido|y luego empezó a nevar
        |pero nadie lo creyó|y el perro ladró|como si nada""",
    ),
    "it": _slots(
        """il professore|la mia vicina|un giovane medico|il vecchio capitano|la nostra guida|la nuova studentessa
        |suo fratello|il fornaio|una ragazza alta|sua nonna|l'autista|un visitatore curioso|la violinista
        |il mio migliore amico|il guardiano|un contadino onesto|la sindaca""",
        """ha trovato|ha portato|ha dipinto|ha descritto|ha riparato|ha dimenticato|ha aperto|ha misurato
        |ha venduto|ha notato|ha cercato|ha pulito|ha fotografato|ha ordinato|ha nascosto""",
        """una piccola scatola|la bicicletta gialla|sette lettere|l'orologio rotto|una mappa dell'isola
        |la finestra della cucina|tre monete d'argento|una bottiglia vuota|la canzone più lunga
        |la chiesa del villaggio|del pane caldo|l'ombrello rosso|una scatola di fiammiferi|la porta verde
        |due valigie pesanti|una vecchia foto|la chiave sbagliata|una ciotola di ciliegie|la scala stretta""",
        """vicino al porto|dietro la stazione|nel giardino|al secondo piano|al mercato|sotto il ponte
        |accanto al fuoco|lungo la costa|davanti al museo|nella valle|in riva al lago|in fondo alla strada""",
        """questa mattina|lo scorso inverno|dopo il concerto|prima dell'alba|giovedì|durante la tempesta
        |una settimana fa|alle nove e mezza|sotto la pioggia|come sempre|nel mezzo della notte
        |per la seconda volta|senza una parola|dopo pranzo""",
        """|e nessuno se n'è accorto|ma era troppo tardi|e tutti hanno riso|anche se era vietato
        |poi ha cominciato a nevicare|ma nessuno ci ha creduto|e il cane ha abbaiato|come se niente fosse""",
    ),
    "pt": _slots(
        """o professor|a minha vizinha|um jovem médico|o velho capitão|a nossa guia|a nova aluna|o irmão dela
        |o padeiro|uma engenheira|a menina alta|a avó dele|o motorista|um visitante curioso|a violinista
        |o meu melhor amigo|o guarda|um agricultor honesto""",
        """encontrou|levou|lembrou|pintou|descreveu|consertou|esqueceu|abriu|mediu|vendeu|notou|procurou|limpou
        |fotografou|pediu|escondeu""",
        """uma caixa pequena|a bicicleta amarela|sete cartas|o relógio quebrado|um mapa da ilha
        |a janela da cozinha|três moedas de prata|uma garrafa vazia|a canção mais longa|a igreja da aldeia
        |um pouco de pão|o guarda-chuva vermelho|uma caixa de fósforos|a porta verde|duas malas pesadas
        |uma foto antiga|a chave errada|um prato de cerejas|a escada estreita|um pedaço de chocolate""",
        """perto do porto|atrás da estação|no jardim|no segundo andar|no mercado|debaixo da ponte|junto ao fogo
        |ao longo da costa|em frente ao museu|no vale|ao lado do lago|no fim da rua|a caminho de casa""",
        """hoje de manhã|no inverno passado|depois do concerto|antes do amanhecer|na quinta-feira
        |durante a tempestade|há uma semana|às nove e meia|na chuva|como sempre|no meio da noite
        |pela segunda vez|sem dizer nada|depois do almoço""",
        """|e ninguém percebeu|mas já era tarde|e todos riram|embora fosse proibido|e depois começou a nevar
        |mas ninguém acreditou|e o cachorro latiu|como se nada fosse""",
    ),
}


@dataclasses.dataclass(frozen=True)
class Sentence:
    """A sentence: one phrase per slot of `language`, '' for none."""

    language: str
    phrases: tuple[str, ...]

    @property
    def text(self) -> str:
        """The written sentence."""
        text = " ".join(p for p in self.phrases if p)
        return text[0].upper() + text[1:] + "."

    def with_phrase(self, slot: int, phrase: str) -> "Sentence":
        """Replaces the phrase of a slot ('': none)."""
        return Sentence(self.language, (*self.phrases[:slot], phrase, *self.phrases[slot + 1 :]))


def size(language: str) -> int:
    """Number of sentences of a language."""
    return math.prod(len(slot) for slot in GRAMMARS[language])


def sentence(language: str, number: int) -> Sentence:
    """Sentence `number` (0 <= number < size) of a language; different numbers give different sentences."""
    count = size(language)
    if not 0 <= number < count:
        raise ValueError(f"sentence {number} of {language!r}: it has {count}")
    rest, phrases = (number * _SCATTER + 7919) % count, []
    for slot in GRAMMARS[language]:
        rest, which = divmod(rest, len(slot))
        phrases.append(slot[which])
    return Sentence(language, tuple(phrases))
