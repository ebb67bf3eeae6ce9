-- One long transaction on a database file, with locks held and a journal beside it.
pragma journal_mode = delete;
create table numbers (n integer primary key, square integer, word text);
begin immediate;
with recursive count(i) as (select 1 union all select i + 1 from count where i < 400000)
insert into numbers select i, i * i, 'word ' || (i * 7919 % 1000) from count;
create index by_word on numbers(word);
update numbers set square = square + (select count(*) from numbers as o where o.word = numbers.word) where n % 20 = 0;
commit;
select count(*), sum(square), min(word), max(word) from numbers;
pragma integrity_check;
select word, count(*) from numbers group by word order by 1 limit 20;
