"""Names and levels of the shop's departments, segments and regions."""

from __future__ import annotations

from typing import NamedTuple


class Department(NamedTuple):
    """A category: what is in it, what it costs, what it earns."""

    name: str
    nouns: tuple[str, ...]
    sizes: tuple[str, ...]
    price: float
    margin: float
    is_storable: bool
    return_logit: float


FLAVOURS: tuple[str, ...] = (
    "Classic", "Organic", "Family", "Fine", "Country", "Light", "Mild", "Rich", "Golden", "Simple", "Daily", "Select",
    "Crisp", "Pure", "Bold", "Fresh", "Soft", "Bright", "Royal", "Garden",
)

DEPARTMENTS: tuple[Department, ...] = (
    Department("biscuits", ("oat biscuits", "butter biscuits", "ginger snaps"), ("200 g", "400 g"), 2.2, 0.32, True, 0.0),
    Department("coffee", ("ground coffee", "coffee beans", "espresso pods"), ("250 g", "500 g"), 6.5, 0.30, True, 0.0),
    Department("tea", ("green tea", "black tea", "herbal tea"), ("20 bags", "50 bags"), 3.0, 0.42, True, 0.0),
    Department("pasta", ("penne", "spaghetti", "fusilli"), ("500 g", "1 kg"), 1.4, 0.24, True, 0.0),
    Department("sauces", ("tomato sauce", "pesto", "curry sauce"), ("190 g", "400 g"), 2.6, 0.35, True, 0.0),
    Department("oils", ("olive oil", "rapeseed oil", "sesame oil"), ("500 ml", "1 l"), 6.0, 0.22, True, 0.0),
    Department("cereals", ("muesli", "granola", "corn flakes"), ("375 g", "750 g"), 3.2, 0.30, True, 0.0),
    Department("snacks", ("crisps", "salted nuts", "popcorn"), ("90 g", "200 g"), 1.9, 0.40, True, 0.0),
    Department("chocolate", ("dark chocolate", "milk chocolate", "pralines"), ("100 g", "200 g"), 2.4, 0.38, True, 0.0),
    Department("dairy", ("whole milk", "yoghurt", "butter"), ("250 g", "1 l"), 1.5, 0.14, False, 0.3),
    Department("cheese", ("cheddar", "goat cheese", "mozzarella"), ("125 g", "250 g"), 3.1, 0.24, False, 0.3),
    Department("bread", ("rye bread", "sourdough", "baguette"), ("400 g", "750 g"), 2.1, 0.28, False, 0.3),
    Department("fruit", ("apples", "bananas", "berries"), ("500 g", "1 kg"), 2.8, 0.20, False, 0.6),
    Department("vegetables", ("carrots", "tomatoes", "salad leaves"), ("250 g", "1 kg"), 1.8, 0.20, False, 0.6),
    Department("meat", ("chicken breast", "minced beef", "sausages"), ("300 g", "600 g"), 6.8, 0.16, False, 0.4),
    Department("fish", ("salmon", "tuna steaks", "prawns"), ("200 g", "400 g"), 7.9, 0.18, False, 0.4),
    Department("frozen", ("peas", "pizza", "ice cream"), ("450 g", "900 g"), 3.4, 0.30, True, 0.2),
    Department("drinks", ("sparkling water", "orange juice", "lemonade"), ("1 l", "6 x 1 l"), 2.3, 0.26, True, 0.0),
    Department("wine and spirits", ("red wine", "white wine", "gin"), ("500 ml", "750 ml"), 9.5, 0.28, True, 0.0),
    Department("cleaning", ("dish soap", "laundry liquid", "surface spray"), ("500 ml", "1.5 l"), 4.1, 0.36, True, 0.0),
    Department("paper", ("kitchen rolls", "tissues", "toilet paper"), ("4 pack", "10 pack"), 4.4, 0.18, True, 0.0),
    Department("body care", ("shower gel", "hand cream", "shampoo"), ("75 ml", "250 ml"), 4.2, 0.46, True, 0.3),
    Department("pets", ("cat food", "dog food", "cat litter"), ("400 g", "3 kg"), 5.2, 0.27, True, 0.1),
    Department("kitchen", ("saucepan", "chopping board", "storage jar"), ("small", "large"), 14.0, 0.44, True, 1.1),
)
N_CATEGORIES = len(DEPARTMENTS)
RESTRICTED = "wine and spirits"
SEGMENTS: tuple[str, ...] = ("bargain hunters", "cooks", "families", "health", "premium", "students")
SEGMENT_PRICE = (1.5, 0.9, 1.1, 0.8, 0.5, 1.3)
SEGMENT_CUTS = (0.20, 0.35, 0.60, 0.75, 0.85)
REGIONS: tuple[str, ...] = ("centre", "east", "north", "south", "west")
OWN_BRAND = "Hearth"
BRANDS: tuple[str, ...] = (
    OWN_BRAND, "Alder", "Birch", "Cedar", "Dune", "Elm", "Fjord", "Grove", "Harbour", "Iris", "Juniper", "Kestrel",
    "Larch", "Meadow", "North", "Orchard",
)
SUPPLIERS: tuple[str, ...] = ("Aster Foods", "Borough Trade", "Coast Supply", "Delta Goods", "Eastgate", "Fellside")
