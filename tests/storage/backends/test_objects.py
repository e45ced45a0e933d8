import threading

from storage.backends.objects import Objects


def test_a_value_is_created_once(objects: Objects) -> None:
    assert objects.read("leases/a") is None
    tag = objects.create("leases/a", b"one")

    assert tag is not None
    assert objects.create("leases/a", b"two") is None
    stored = objects.read("leases/a")
    assert stored is not None
    assert (stored.value, stored.etag) == (b"one", tag)


def test_only_the_version_with_the_given_etag_is_replaced(objects: Objects) -> None:
    first = objects.create("leases/a", b"one")
    assert first is not None
    second = objects.replace("leases/a", b"two", first)

    assert second is not None
    assert objects.replace("leases/a", b"three", first) is None
    assert objects.replace("leases/none", b"three", first) is None
    stored = objects.read("leases/a")
    assert stored is not None
    assert stored.value == b"two"


def test_of_concurrent_replacements_of_one_version_one_succeeds(objects: Objects) -> None:
    tag = objects.create("leases/a", b"one")
    assert tag is not None
    won: list[int] = []

    def replace(number: int) -> None:
        if objects.replace("leases/a", b"%d" % number, tag) is not None:
            won.append(number)

    threads = [threading.Thread(target=replace, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    stored = objects.read("leases/a")
    assert stored is not None
    assert [b"%d" % number for number in won] == [stored.value]


def test_listing_writing_and_removing(objects: Objects) -> None:
    objects.write("runs/b", b"22")
    objects.write("runs/a", b"1")
    objects.write("runs/a", b"333")
    objects.write("align/0123/manifest.json", b"{}")

    assert [(listed.name, listed.size) for listed in objects.names("runs/")] == [("runs/a", 3), ("runs/b", 2)]
    assert [listed.name for listed in objects.names("")] == ["align/0123/manifest.json", "runs/a", "runs/b"]
    assert objects.names("locks/") == []

    objects.remove("runs/a")
    objects.remove("runs/a")
    assert [listed.name for listed in objects.names("runs/")] == ["runs/b"]
