"""Lists: from the filters of a request to the rows of one page.

lists            read one page; the function that services call
listing          describe a list: table, joins, indexes
filters          parse the filter language
narrowing        choose a strategy, so that an index answers the filters
filter_sql       turn one filter into an SQL condition
page_sql         assemble the SELECT of a page
pages            limits, sort keys and page tokens
"""
